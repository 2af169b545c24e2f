// Package clusterctl holds the commands that look after a cluster: they show it, change
// its members through any of its nodes, and bring a node back whose cluster is lost.
package clusterctl

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"spoor/cluster/datadir"
	"spoor/internal/vfs"
	"spoor/tools/internal/client"
	"spoor/tools/internal/render"
)

// Console is where a command runs.
type Console struct {
	Stdin    io.Reader
	Stdout   io.Writer
	Terminal bool // whether Stdout is one
	// Connect makes a client of a server, "" for the one that the flags name. A request is
	// tried again for so long; negative: not at all.
	Connect func(server string, retryFor time.Duration) (*client.Client, error)
}

// patience is how long a change is tried again while the cluster has no leader.
const patience = 30 * time.Second

// Cluster is the group of commands.
type Cluster struct {
	Status   statusCmd   `cmd:"" help:"Show the nodes, who leads, and how far each is."`
	Watch    watchCmd    `cmd:"" help:"Show the same, live."`
	Token    tokenCmd    `cmd:"" help:"Make a token with which one node may join."`
	Transfer transferCmd `cmd:"" help:"Let another node lead."`
	Promote  promoteCmd  `cmd:"" help:"Give a node a vote, at once or when it has caught up."`
	Demote   demoteCmd   `cmd:"" help:"Take the vote of a node; it goes on to follow."`
	Remove   removeCmd   `cmd:"" help:"Take a node out of the cluster for good."`
	Verify   verifyCmd   `cmd:"" help:"Compare what the nodes hold, partition by partition."`
	Recover  recoverCmd  `cmd:"" help:"Make a cluster of one node, whose cluster has lost its majority for good."`
}

// Help implements kong.HelpProvider.
func (Cluster) Help() string {
	return `Any node may be asked (--server); what changes something its leader does. A node joins when it is started with --join.

Examples:

    spoor serve --data ./d1 --node-id n1 --listen 127.0.0.1:7480 --raft 127.0.0.1:7490
    spoor serve --data ./d2 --node-id n2 --listen 127.0.0.1:7481 --raft 127.0.0.1:7491 --join http://127.0.0.1:7480
    spoor cluster status
    spoor cluster watch
    spoor cluster transfer n2`
}

// node is a member as GET /api/cluster tells.
type node struct {
	ID      string
	Address string
	HTTP    string
	Voter   bool
	State   string
	Applied uint64 `json:"applied_index"`
	Lag     uint64
	Silent  *float64 `json:"silent_seconds"`
	Version string
}

type status struct {
	Cluster, Leader string
	Term            uint64
	CommandVersion  uint32 `json:"command_version"`
	Nodes           []node
}

func (c *Console) call(ctx context.Context, method, path string, args url.Values, body any, value any) (json.RawMessage, error) {
	server, err := c.Connect("", patience)
	if err != nil {
		return nil, err
	}
	defer server.Close()
	var b []byte
	if body != nil {
		if b, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	answer, err := server.Call(ctx, method, path, args, b)
	if err == nil && value != nil {
		err = json.Unmarshal(answer, value)
	}
	return answer, err
}

func (c *Console) show(answer json.RawMessage) error { return client.WriteJSON(c.Stdout, answer) }

// draw writes a picture of the cluster.
func draw(out io.Writer, s *status) error {
	leader := s.Leader
	if leader == "" {
		leader = "nobody"
	}
	if _, err := fmt.Fprintf(out, "Cluster %s: %s leads in term %d.\n\n", render.Printable(s.Cluster), render.Printable(leader), s.Term); err != nil {
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "NODE\tSTATE\tVOTE\tAPPLIED\tLAG\tHEARD\tCLIENTS\tNODES\tRELEASE")
	for _, n := range s.Nodes {
		vote, heard := "no", "never"
		if n.Voter {
			vote = "yes"
		}
		switch {
		case n.State == "leader":
			heard = "-"
		case n.State == "unknown":
			heard = "?"
		case n.Silent != nil:
			heard = strconv.FormatFloat(*n.Silent, 'f', 1, 64) + "s ago"
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", render.Printable(n.ID), render.Printable(n.State), vote,
			render.Count(int64(n.Applied)), render.Count(int64(n.Lag)), heard, render.Printable(n.HTTP), render.Printable(n.Address), render.Printable(n.Version))
	}
	return w.Flush()
}

type statusCmd struct {
	JSON bool `help:"Print the server's answer." name:"json"`
}

// Help implements kong.HelpProvider.
func (statusCmd) Help() string {
	return help("LAG is the log entries that the leader has applied and the node has not. A learner has no vote (yet); a stalled node answers, but gets no entries; an unreachable one does not answer. The exit code is 1 while nobody leads or a node is stalled or unreachable.",
		"spoor cluster status", "spoor cluster status --json --server http://db2:7480 --key $READ_KEY")
}

// errUnwell makes the exit code.
var errUnwell = errors.New("the cluster is not well: see above")

// Run shows the cluster.
func (x *statusCmd) Run(ctx context.Context, c *Console) error {
	var s status
	answer, err := c.call(ctx, http.MethodGet, "/api/cluster", nil, nil, &s)
	if err != nil {
		return err
	}
	if x.JSON {
		err = c.show(answer)
	} else {
		err = draw(c.Stdout, &s)
	}
	if err != nil {
		return err
	}
	unwell := s.Leader == ""
	for _, n := range s.Nodes {
		unwell = unwell || n.State == "stalled" || n.State == "unreachable"
	}
	if unwell {
		return errUnwell
	}
	return nil
}

type tokenCmd struct {
	For  time.Duration `help:"How long it is good." default:"1h" placeholder:"TIME"`
	JSON bool          `help:"Print the server's answer." name:"json"`
}

// Help implements kong.HelpProvider.
func (tokenCmd) Help() string {
	return help("The token stands alone on standard output; the server keeps its SHA-256 only. It is good for one node, through any member.",
		"spoor cluster token --key $ADMIN_KEY",
		"SPOOR_SERVE_JOIN_TOKEN=$(spoor cluster token --server https://db1 --key $ADMIN_KEY) spoor serve ... --join https://db1")
}

// Run makes a token.
func (x *tokenCmd) Run(ctx context.Context, c *Console) error {
	var t struct{ Token string }
	answer, err := c.call(ctx, http.MethodPost, "/api/cluster/token", nil, map[string]int{"seconds": int(x.For / time.Second)}, &t)
	if err != nil || x.JSON {
		if err == nil {
			err = c.show(answer)
		}
		return err
	}
	_, err = fmt.Fprintln(c.Stdout, t.Token)
	return err
}

// changeFlags are those of commands that change the cluster.
type changeFlags struct {
	JSON bool `help:"Print the server's answer." name:"json"`
}

func (f *changeFlags) send(ctx context.Context, c *Console, method, path string, args url.Values, body any, done func() string) error {
	answer, err := c.call(ctx, method, path, args, body, nil)
	if err != nil {
		return err
	}
	if f.JSON {
		return c.show(answer)
	}
	_, err = fmt.Fprintln(c.Stdout, done())
	return err
}

type transferCmd struct {
	To string `arg:"" optional:"" help:"Node that shall lead; without it the one that keeps up best." placeholder:"NODE"`
	changeFlags
}

// Help implements kong.HelpProvider.
func (transferCmd) Help() string {
	return help("Writes wait for a moment; nothing is lost. A server that is stopped hands the lead over by itself.", "spoor cluster transfer", "spoor cluster transfer n2")
}

// Run transfers the lead.
func (x *transferCmd) Run(ctx context.Context, c *Console) error {
	return x.send(ctx, c, http.MethodPost, "/api/cluster/transfer", nil, map[string]string{"to": x.To}, func() string { return "Another node leads." })
}

func nodePath(id, what string) string { return "/api/cluster/nodes/" + url.PathEscape(id) + what }

type promoteCmd struct {
	Node string `arg:"" help:"Name of the node." placeholder:"NODE"`
	JSON bool   `help:"Print the server's answer." name:"json"`
}

// Help implements kong.HelpProvider.
func (promoteCmd) Help() string {
	return help("Nodes that join get their vote by themselves; this is for those that were started with --learner or demoted.", "spoor cluster promote n3")
}

// Run promotes.
func (x *promoteCmd) Run(ctx context.Context, c *Console) error {
	var v struct{ Voter bool }
	answer, err := c.call(ctx, http.MethodPost, nodePath(x.Node, "/promote"), nil, nil, &v)
	if err != nil {
		return err
	}
	if x.JSON {
		return c.show(answer)
	}
	text := x.Node + " has a vote."
	if !v.Voter {
		text = x.Node + " gets a vote as soon as it has caught up."
	}
	_, err = fmt.Fprintln(c.Stdout, text)
	return err
}

type demoteCmd struct {
	Node string `arg:"" help:"Name of the node." placeholder:"NODE"`
	changeFlags
}

// Help implements kong.HelpProvider.
func (demoteCmd) Help() string {
	return help("Without a vote a node slows nobody down and decides nothing; it answers reads as before.", "spoor cluster demote n3")
}

// Run demotes.
func (x *demoteCmd) Run(ctx context.Context, c *Console) error {
	return x.send(ctx, c, http.MethodPost, nodePath(x.Node, "/demote"), nil, nil, func() string { return x.Node + " has no vote." })
}

type removeCmd struct {
	Node  string `arg:"" help:"Name of the node." placeholder:"NODE"`
	Force bool   `help:"Also where too few nodes would be left that answer."`
	changeFlags
}

// Help implements kong.HelpProvider.
func (removeCmd) Help() string {
	return help("For a node that is to go, or whose disk is lost: that one has forgotten its votes and must not come back under its name. Start its successor with an empty directory, a new --node-id and --join. Stop the removed node and keep it stopped.",
		"spoor cluster remove n3", "spoor serve --data ./d4 --node-id n4 --raft 127.0.0.1:7494 --listen 127.0.0.1:7484 --join http://127.0.0.1:7480")
}

// Run removes.
func (x *removeCmd) Run(ctx context.Context, c *Console) error {
	var args url.Values
	if x.Force {
		args = url.Values{"force": {"1"}}
	}
	return x.send(ctx, c, http.MethodDelete, nodePath(x.Node, ""), args, nil, func() string {
		return x.Node + " is no member any more, and its name is not used again. Stop it."
	})
}

type recoverCmd struct {
	Data   string `help:"Data directory of the node, which must not run." required:"" type:"path" placeholder:"DIR"`
	NodeID string `help:"Name of the node." default:"n1" placeholder:"NAME"`
	Yes    bool   `help:"Do not ask."`
	JSON   bool   `help:"Print what was done as JSON." name:"json"`
}

// Help implements kong.HelpProvider.
func (recoverCmd) Help() string {
	return help(`Only where more than half of the nodes with a vote are lost for good. With a majority left, the cluster goes on by itself: use remove. The node becomes a new cluster with all that its own log holds; what only lost nodes held is lost. Choose the node with the highest APPLIED in its last status. Nodes of the old cluster are refused by the new one: let others join it with empty directories and new names. The old log is kept beside the new one.`,
		"spoor cluster recover --data ./d2 --node-id n2", "spoor serve --data ./d2 --node-id n2 --listen 127.0.0.1:7481 --raft 127.0.0.1:7491")
}

// Run recovers.
func (x *recoverCmd) Run(ctx context.Context, c *Console) error {
	if !x.Yes {
		if _, err := fmt.Fprintf(c.Stdout, `This makes a new cluster of node %s alone, from %s.
What other nodes acknowledged and this one never got is LOST, and the nodes of the old cluster cannot come back.
Do it only when more than half of them are gone for good. Type the name of the node to go on: `, x.NodeID, x.Data); err != nil {
			return err
		}
		line, err := bufio.NewReader(io.LimitReader(c.Stdin, 1<<10)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if strings.TrimSpace(line) != x.NodeID {
			return errors.New("that is not its name; nothing was changed")
		}
	}
	failed := func(err error) {
		_, _ = fmt.Fprintln(os.Stderr, "spoor: the disk failed, start anew:", err)
		os.Exit(1)
	}
	r, err := datadir.Recover(ctx, datadir.RecoverOptions{FS: vfs.OS(), Dir: x.Data, NodeID: x.NodeID, OnFatal: failed})
	if err != nil {
		return err
	}
	if x.JSON {
		return json.NewEncoder(c.Stdout).Encode(r)
	}
	_, err = fmt.Fprintf(c.Stdout, "Node %s is a cluster of its own, with everything up to log entry %d (%s of it were in its log alone).\n", x.NodeID, r.Index, render.Count(int64(r.Applied)))
	return err
}

// help lays out the help of a command: what it does, and lines to copy.
func help(text string, lines ...string) string {
	return text + "\n\nExamples:\n\n    " + strings.Join(lines, "\n    ")
}
