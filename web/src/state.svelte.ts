import { get, whenSignedOut, type Catalog, type Session } from './api'

// What all pages share: who is signed in, and what is in the data.
export const shared = $state({
  session: undefined as Session | undefined,
  catalog: undefined as Catalog | undefined,
  palette: false,
  said: '', // the last thing that happened, for the reader's ear and eye
})

export const isAdmin = (): boolean => shared.session?.role === 'admin'

export async function loadSession() {
  shared.session = await get<Session>('api/session')
}

whenSignedOut(() => {
  if (shared.session?.required) shared.session = { required: true, role: '', name: '' }
})

let asked = 0
// loadCatalog asks for names and fields, at most every ten seconds.
export async function loadCatalog(again = false) {
  if (!again && Date.now() - asked < 10_000) return
  asked = Date.now()
  try {
    shared.catalog = await get<Catalog>('api/catalog')
  } catch {
    asked = 0 // pickers offer nothing until it answers
  }
}

let quiet: ReturnType<typeof setTimeout> | undefined
export function say(text: string) {
  shared.said = text
  clearTimeout(quiet)
  quiet = setTimeout(() => (shared.said = ''), 4000)
}
