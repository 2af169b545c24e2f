// Package ingest measures a whole server from outside: how fast it takes the
// workload over HTTP, what that costs in CPU and memory, what stays on the disk
// when everything is compacted, and how long a start takes.
//
// The events are written to a file before anything is measured, and a sender
// hands the kernel ranges of that file, so that the loader takes little of the
// machine that it shares with the server. What the loader takes all the same is reported.
package ingest
