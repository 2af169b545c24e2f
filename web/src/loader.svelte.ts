import { ApiError } from './api'

// Loader holds what was asked for last: the answer before it stays visible until the next
// one is there, and a question that nobody waits for any more is cancelled.
export class Loader<T> {
  value: T | undefined = $state.raw()
  error: ApiError | undefined = $state.raw()
  busy = $state(false)
  #cancel: AbortController | undefined

  async run(ask: (signal: AbortSignal) => Promise<T>): Promise<void> {
    this.#cancel?.abort()
    const mine = (this.#cancel = new AbortController())
    this.busy = true
    try {
      const value = await ask(mine.signal)
      if (this.#cancel !== mine) return
      this.value = value
      this.error = undefined
    } catch (e) {
      if (mine.signal.aborted || this.#cancel !== mine) return
      this.error = e instanceof ApiError ? e : new ApiError(0, { code: 'page', message: String(e) })
    }
    this.busy = false
  }

  stop() {
    this.#cancel?.abort()
    this.#cancel = undefined
    this.busy = false
  }
}
