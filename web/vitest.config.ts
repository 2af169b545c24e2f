import { defineConfig } from 'vitest/config'

// Two kinds: test/ is logic alone, e2e/ needs the built server (../bin/spoor) and, for the walk, a Chromium.
export default defineConfig({
  test: {
    projects: [
      { test: { name: 'logic', include: ['test/**/*.test.ts'], setupFiles: ['test/reader.ts'] } },
      { test: { name: 'e2e', include: ['e2e/**/*.test.ts'], fileParallelism: false, testTimeout: 60_000, hookTimeout: 60_000, setupFiles: ['test/reader.ts'] } },
    ],
  },
})
