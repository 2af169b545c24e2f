import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const binary = process.env.SPOOR_BIN ?? fileURLToPath(new URL('../../bin/spoor', import.meta.url))

// Server is a spoor of its own, with its data in a place that goes with it.
export class Server {
  private constructor(
    readonly url: string,
    private readonly child: ChildProcess,
    private readonly dir: string,
  ) {}

  static async start(...flags: string[]): Promise<Server> {
    const port = await freePort()
    const dir = mkdtempSync(join(tmpdir(), 'spoor-page-'))
    const child = spawn(binary, ['serve', '--data', join(dir, 'data'), '--listen', `127.0.0.1:${port}`, ...flags], { stdio: ['ignore', 'ignore', 'pipe'] })
    let said = ''
    child.stderr!.on('data', (d: Buffer) => (said = (said + d.toString()).slice(-4000)))
    const s = new Server(`http://127.0.0.1:${port}`, child, dir)
    for (let i = 0; ; i++) {
      if (child.exitCode !== null || i > 300) throw new Error('the server does not start: ' + said)
      if (await fetch(s.url + '/readyz').then((r) => r.ok, () => false)) return s
      await new Promise((done) => setTimeout(done, 50))
    }
  }

  // load stores generated events of the 30 days before today.
  load(events: number) {
    const start = new Date(Date.now() - 30 * 864e5).toISOString().slice(0, 10)
    const file = join(this.dir, 'events.ndjson.zst')
    execFileSync(binary, ['bench', 'generate', '--events', String(events), '--seed', '5', '--days', '30', '--start', start, '--out', file], { stdio: 'ignore' })
    execFileSync(binary, ['import', '--server', this.url, '--wait', '10s', file], { stdio: 'ignore' })
    rmSync(file)
  }

  async send(verb: string, path: string, body?: unknown, key?: string): Promise<unknown> {
    const r = await fetch(this.url + path, {
      method: verb, body: body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body), headers: key ? { Authorization: 'Bearer ' + key } : {},
    })
    const text = await r.text()
    if (!r.ok) throw new Error(`${verb} ${path}: ${r.status} ${text}`)
    return JSON.parse(text)
  }

  query<T>(q: string, args = ''): Promise<T> {
    return this.send('POST', '/api/query' + args, q) as Promise<T>
  }

  async stop() {
    const gone = new Promise((done) => this.child.once('exit', done))
    this.child.kill('SIGTERM')
    await gone
    rmSync(this.dir, { recursive: true, force: true })
  }
}

function freePort(): Promise<number> {
  return new Promise((done, fail) => {
    const s = createServer()
    s.once('error', fail)
    s.listen(0, '127.0.0.1', () => {
      const address = s.address()
      s.close(() => (address && typeof address === 'object' ? done(address.port) : fail(new Error('no port'))))
    })
  })
}
