// The whole state of the page is its address, behind the # so that no server and no
// proxy on the way sees what is asked: #/explore?q=trend+count+of+any&view=table

export interface Route {
  page: string // the first segment; '' is home
  name: string // the second one: a person, an event, a board
  args: Record<string, string>
}

export function readHash(hash: string): Route {
  const text = hash.replace(/^#\/?/, '')
  const cut = text.indexOf('?')
  const path = cut < 0 ? text : text.slice(0, cut)
  const [page = '', name = ''] = path.split('/')
  const args: Record<string, string> = {}
  for (const [k, v] of new URLSearchParams(cut < 0 ? '' : text.slice(cut + 1))) args[k] = v
  return { page: decode(page), name: decode(name), args }
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}

export function hashOf(page: string, name = '', args: Record<string, string | undefined> = {}): string {
  const search = new URLSearchParams()
  for (const [k, v] of Object.entries(args)) if (v) search.set(k, v)
  const tail = search.toString()
  return '#/' + encodeURIComponent(page) + (name ? '/' + encodeURIComponent(name) : '') + (tail ? '?' + tail : '')
}

export const route: Route = $state(readHash(location.hash))

function follow() {
  const next = readHash(location.hash)
  route.page = next.page
  route.name = next.name
  route.args = next.args
}
addEventListener('hashchange', follow)

export function go(page: string, name = '', args: Record<string, string | undefined> = {}) {
  location.hash = hashOf(page, name, args)
}

// setArgs changes arguments of the address in place: no new entry in the history.
export function setArgs(change: Record<string, string | undefined>) {
  history.replaceState(null, '', hashOf(route.page, route.name, { ...route.args, ...change }))
  follow()
}
