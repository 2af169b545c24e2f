// Package reliability holds the built binary to its promises from outside: its tests
// start spoor as a process, kill it, fill its disk, damage its files and starve it of memory, and
// compare what it answers with a ledger of every event that it acknowledged.
// docs/reliability.md lists the promises and figures.
//
// The counts are those of a CI run. SOAK=1 raises them, and each by itself:
//
//	SPOOR_KILLS             kills of a server under load            20, SOAK 1,000
//	SPOOR_MEMORY_EVENTS     events in 512 MiB of memory        300,000, SOAK 10,000,000
//	SPOOR_BINARY            another binary than the one that is built, such as one that was made worse on purpose
//
// The tests of a full disk and of little memory need root, and are skipped with a message without.
package reliability
