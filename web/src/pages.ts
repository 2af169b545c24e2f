import type { Component } from 'svelte'
import Boards from './page/Boards.svelte'
import Catalogue from './page/Catalogue.svelte'
import Cluster from './page/Cluster.svelte'
import Console from './page/Console.svelte'
import Explore from './page/Explore.svelte'
import Home from './page/Home.svelte'
import Jobs from './page/Jobs.svelte'
import Letters from './page/Letters.svelte'
import Missing from './page/Missing.svelte'
import Persons from './page/Persons.svelte'
import Quality from './page/Quality.svelte'

// The pages by the first segment of their address, in the order of the menu.
export const pages: { path: string; title: string; view: Component; menu?: boolean }[] = [
  { path: '', title: 'Home', view: Home, menu: true },
  { path: 'explore', title: 'Explore', view: Explore, menu: true },
  { path: 'boards', title: 'Boards', view: Boards, menu: true },
  { path: 'persons', title: 'Persons', view: Persons, menu: true },
  { path: 'events', title: 'Events', view: Catalogue, menu: true },
  { path: 'letters', title: 'Dead letters', view: Letters, menu: true },
  { path: 'quality', title: 'Quality', view: Quality, menu: true },
  { path: 'console', title: 'Console', view: Console, menu: true },
  { path: 'jobs', title: 'Jobs', view: Jobs, menu: true },
  { path: 'cluster', title: 'Cluster', view: Cluster, menu: true },
  { path: 'missing', title: 'Not found', view: Missing },
]
