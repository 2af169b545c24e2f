// Package member prepares a node to be one of a cluster: it reads the flags that
// concern other nodes, names the disk, and asks for membership where there is no log yet.
package member

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"spoor/cluster"
	"spoor/cluster/logstore"
	"spoor/cluster/peer"
	"spoor/cluster/roster"
	"spoor/engine"
	"spoor/internal/vfs"
	"spoor/segment"
)

// Flags are those of spoor serve about other nodes.
type Flags struct {
	Raft          string   `help:"Address to listen on for other nodes. Beyond this machine certificates are needed. Without it the node is alone." placeholder:"HOST:PORT"`
	RaftAdvertise string   `help:"Address at which other nodes find it, if that is another one." placeholder:"HOST:PORT"`
	Advertise     string   `help:"URL at which clients find this node; for those who look at the cluster." placeholder:"URL"`
	Join          []string `help:"URL of a member of the cluster to join, where there is no data yet. Several may be given." placeholder:"URL"`
	JoinToken     string   `help:"Token from spoor cluster token, to join where keys are needed. An --admin-key does it, too." placeholder:"TOKEN"`
	Learner       bool     `help:"Join without ever getting a vote."`
	PeerCert      string   `help:"Certificate of this node for other nodes, in PEM; its DNS name is the node's id." type:"path" placeholder:"FILE"`
	PeerKey       string   `help:"Its key." type:"path" placeholder:"FILE"`
	PeerCA        string   `help:"Certificate of the authority that signed those of all nodes." type:"path" placeholder:"FILE" name:"peer-ca"`
}

// Node is what else has to be known of the node that starts.
type Node struct {
	ID, Data, Version string
	AdminKey          string // "" for none
	Durable           uint64 // up to which the store holds the log
	Log               *slog.Logger
}

// Check refuses flags that do not fit together.
func (f *Flags) Check(id string) error {
	certs := 0
	for _, file := range []string{f.PeerCert, f.PeerKey, f.PeerCA} {
		if file != "" {
			certs++
		}
	}
	switch {
	case f.Raft == "" && (len(f.Join) > 0 || f.RaftAdvertise != "" || certs > 0):
		return errors.New("--join, --raft-advertise and --peer-... need --raft HOST:PORT")
	case certs != 0 && certs != 3:
		return errors.New("--peer-cert, --peer-key and --peer-ca belong together")
	case len(f.Join) > 0 && strings.HasSuffix(f.address(), ":0"):
		return errors.New("--join needs a --raft address with a port: other nodes have to find it again")
	case f.Raft != "":
		return peer.CheckNodeID(id)
	}
	return nil
}

func (f *Flags) address() string {
	if f.RaftAdvertise != "" {
		return f.RaftAdvertise
	}
	return f.Raft
}

// Configure fills in what a node's configuration needs of the flags. Where the data
// directory has no log and members are named, it joins them first.
func (f *Flags) Configure(ctx context.Context, n Node, c *cluster.Config) (roster.Options, error) {
	formats := peer.Formats{
		Commands: peer.Range{Min: engine.MinEntryVersion, Max: engine.MaxEntryVersion},
		Segments: peer.Range{Min: segment.Version, Max: segment.Version},
	}
	o := roster.Options{HTTP: f.Advertise, Version: n.Version, Formats: formats, Now: time.Now, Random: rand.Reader, Logger: n.Log}
	var err error
	if f.PeerCert != "" {
		if c.PeerTLS, err = peer.LoadTLS(n.ID, f.PeerCert, f.PeerKey, f.PeerCA); err != nil {
			return o, err
		}
		o.TLS = true
	} else if f.Raft != "" {
		if err := peer.CheckLoopback(f.Raft); err != nil {
			return o, err
		}
	}
	if o.Disk, err = roster.OpenIdentity(vfs.OS(), n.Data, n.ID, rand.Reader); err != nil {
		return o, err
	}
	c.RaftAddr, c.RaftAdvertise, c.Formats, c.EntryVersion = f.Raft, f.RaftAdvertise, formats, engine.EntryVersion
	c.Bootstrap = len(f.Join) == 0
	if len(f.Join) == 0 {
		return o, nil
	}
	if has, err := hasEntries(ctx, n); has || err != nil {
		return o, err // it has joined before
	}
	if n.Durable > 0 {
		return o, fmt.Errorf("%s holds events and no log, so it cannot join a cluster; give it an empty directory", n.Data)
	}
	voter := !f.Learner
	answer, err := f.join(ctx, n, roster.JoinRequest{
		ID: n.ID, Disk: o.Disk, Address: f.address(), HTTP: f.Advertise, Version: n.Version, Formats: formats, Voter: &voter, Token: f.JoinToken,
	})
	if err != nil {
		return o, err
	}
	id, err := hex.DecodeString(answer.Cluster)
	if err != nil || len(id) != len(c.ClusterID) {
		return o, fmt.Errorf("join: the answer names cluster %.100q", answer.Cluster)
	}
	c.ClusterID = logstore.ClusterID(id)
	n.Log.Info("joined the cluster", "cluster", answer.Cluster, "leader", answer.Leader)
	return o, nil
}

// hasEntries tells whether the log of a node holds anything. A node that ended before the cluster
// found it joins once more, perhaps at another address.
func hasEntries(ctx context.Context, n Node) (bool, error) {
	dir := filepath.Join(n.Data, cluster.LogDir)
	if _, err := os.Stat(dir); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return false, err
	}
	if n.Durable > 0 {
		return true, nil
	}
	log, err := logstore.Verify(ctx, vfs.OS(), dir)
	if errors.Is(err, logstore.ErrNoLog) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look whether the node has joined before: %w", err)
	}
	return log.Last > 0, nil
}

const (
	// joinFor is how long a node tries to join that finds no leader.
	joinFor = time.Minute
	// joinPause lies between two rounds.
	joinPause = time.Second
	// joinTimeout bounds one request.
	joinTimeout    = 15 * time.Second
	maxAnswerBytes = 64 << 10
)

// errRefused is wrapped when trying again would not help.
var errRefused = errors.New("the cluster does not take this node")

// join asks one member after the other.
func (f *Flags) join(ctx context.Context, n Node, q roster.JoinRequest) (roster.JoinAnswer, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return roster.JoinAnswer{}, err
	}
	until := time.Now().Add(joinFor)
	for {
		var last error
		for _, member := range f.Join {
			answer, err := ask(ctx, member, n.AdminKey, body)
			if err == nil || errors.Is(err, errRefused) {
				return answer, err
			}
			last = fmt.Errorf("join through %s: %w", member, err)
		}
		if ctx.Err() != nil || time.Now().After(until) {
			return roster.JoinAnswer{}, last
		}
		n.Log.Warn("no member lets this node join yet; it will be tried again", "error", last)
		select {
		case <-time.After(joinPause):
		case <-ctx.Done():
		}
	}
}

func ask(ctx context.Context, member, key string, body []byte) (answer roster.JoinAnswer, err error) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	base, err := url.Parse(strings.TrimRight(member, "/"))
	if err != nil || base.Host == "" {
		return answer, fmt.Errorf("%w: --join %s is no URL of a server", errRefused, member)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base.String()+"/api/cluster/join", bytes.NewReader(body))
	if err != nil {
		return answer, err
	}
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return answer, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
	if err != nil {
		return answer, err
	}
	if resp.StatusCode == http.StatusOK {
		return answer, json.Unmarshal(text, &answer)
	}
	var told struct {
		Error struct{ Code, Message string }
	}
	if json.Unmarshal(text, &told) != nil || told.Error.Message == "" {
		told.Error.Message = fmt.Sprintf("status %d: %.200s", resp.StatusCode, text)
	}
	if resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests {
		return answer, errors.New(told.Error.Message)
	}
	return answer, fmt.Errorf("%w: %s", errRefused, told.Error.Message)
}
