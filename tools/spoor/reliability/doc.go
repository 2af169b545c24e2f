// Package reliability holds the built binary to its promises from outside: its tests
// start spoor as a process, kill it, fill its disk, damage its files and starve it of memory, and
// compare what it answers with a ledger of every event that it acknowledged.
// docs/reliability.md lists the promises and figures.
//
// The numbers of rounds are those of a CI run; the environment raises them:
//
//	SPOOR_KILLS             kills of a server under load        20
//	SPOOR_MEMORY_EVENTS     events in 512 MiB of memory    300,000
//	SPOOR_DAMAGE_OFFSETS    places per file and damage (tests of cluster/datadir)  50
package reliability
