// The reader of a test writes numbers as in Britain.
Object.defineProperty(globalThis, 'navigator', { value: { language: 'en-GB' }, configurable: true })
