import type { Component } from 'svelte'
import Console from './page/Console.svelte'
import Explore from './page/Explore.svelte'
import Home from './page/Home.svelte'
import Missing from './page/Missing.svelte'

// The pages by the first segment of their address, in the order of the menu.
export const pages: { path: string; title: string; view: Component; menu?: boolean; below?: string }[] = [
  { path: '', title: 'Home', view: Home, menu: true },
  { path: 'explore', title: 'Explore', view: Explore, menu: true },
  { path: 'console', title: 'Console', view: Console, menu: true },
  { path: 'missing', title: 'Not found', view: Missing },
]
