// Package replica makes a node one of several that hold the same: it takes over the state of
// another node when it is too far behind, gives its own to others, and compares itself with them.
package replica

import (
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"time"

	"spoor/cluster"
	"spoor/cluster/audit"
	"spoor/cluster/install"
	"spoor/cluster/peer"
	"spoor/engine"
)

// Flags are those of spoor serve about replicas.
type Flags struct {
	PullBytes   int64         `help:"Bytes per second at most that this node takes from another one whose state it takes over; 0: no bound." default:"0" placeholder:"BYTES"`
	VerifyEvery time.Duration `help:"How often the leader compares the replicas; 0: only when spoor cluster verify asks." default:"6h" placeholder:"TIME"`
	NoRepair    bool          `help:"Let a replica be that was found to differ from the others or to be damaged, in place of giving it the state of one that is sound."`
}

// Replica is a node beside others.
type Replica struct {
	Audit  *audit.Auditor
	flags  *Flags
	log    *slog.Logger
	puller *install.Puller
	leases *install.Leases
	port   atomic.Pointer[peer.Port]
}

// New makes a Replica. Audit.OnHash goes into the options of the engine.
func (f *Flags) New(log *slog.Logger) *Replica {
	every := f.VerifyEvery
	if every <= 0 {
		every = -1
	}
	return &Replica{flags: f, log: log, Audit: audit.New(audit.Options{Every: every, Repair: !f.NoRepair, Logger: log})}
}

// Installer goes into the configuration of the node whose engine has its files below dir.
func (r *Replica) Installer(db *engine.DB, dir string) cluster.Installer {
	r.puller = install.NewPuller(db, install.Options{
		Dir: filepath.Join(dir, install.Dir), BytesPerSecond: r.flags.PullBytes, Logger: r.log,
		Dial: func(node, address string) (install.Source, error) {
			port := r.port.Load()
			if port == nil {
				return nil, peer.ErrNotReached
			}
			return install.Remote(port, node, address), nil
		},
	})
	return r.puller
}

// Start begins when the node runs.
func (r *Replica) Start(node *cluster.Node, db *engine.DB) {
	r.leases = install.NewLeases(db, install.LeaseOptions{Hold: node.HoldLog, Logger: r.log})
	if port := node.Peers(); port != nil {
		r.port.Store(port)
		r.leases.Serve(port)
	}
	r.Audit.Start(node, node.Peers())
}

// Close ends it, before the node.
func (r *Replica) Close() {
	r.Audit.Close()
	r.leases.Close()
}
