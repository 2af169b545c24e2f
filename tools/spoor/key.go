package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"spoor/tools/internal/client"
)

// keyCmd makes, lists and revokes keys.
type keyCmd struct {
	Create keyCreateCmd `cmd:"" help:"Make a key and print it, once."`
	List   keyListCmd   `cmd:"" help:"List the keys in force."`
	Rotate keyRotateCmd `cmd:"" help:"Make one more key of a name, for programs to change over."`
	Revoke keyRevokeCmd `cmd:"" help:"End a key at once."`
}

// keyRequestTime bounds one call about keys.
const keyRequestTime = 30 * time.Second

// keyServer connects to the server.
func (g *globals) keyServer(ctx context.Context) (*client.Client, context.Context, context.CancelFunc, error) {
	c, err := g.connect(1, keyRequestTime)
	if err != nil {
		return nil, nil, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, keyRequestTime)
	return c, ctx, cancel, nil
}

// keyCreateCmd makes a key.
type keyCreateCmd struct {
	Kind        string   `help:"One of ${enum}: append events; ask; everything." enum:"write,read,admin" required:"" placeholder:"KIND"`
	Source      string   `help:"Source that the events of a write key carry." placeholder:"NAME"`
	Name        string   `help:"Name of the key; default SOURCE-KIND." placeholder:"NAME"`
	Origins     []string `help:"Web sites whose pages may use the key, such as https://shop.example or https://*.shop.example; without, everybody may." placeholder:"ORIGIN"`
	Events      []string `help:"Event names that a write key may send; * stands for any text." placeholder:"PATTERN"`
	Rate        float64  `help:"Events of a write key, requests of others, per second." placeholder:"N"`
	AddressRate float64  `help:"The same from one address." placeholder:"N"`
	JSON        bool     `help:"Print the whole answer as JSON." name:"json"`
}

// Help implements kong.HelpProvider.
func (keyCreateCmd) Help() string {
	return examples("The key stands alone on standard output. The server keeps its SHA-256 only: it cannot be shown again. Until the first admin key is made a server on this machine asks nobody for keys; make that one first.",
		"spoor key create --kind admin --name ops",
		"spoor key create --kind write --source web --origins https://shop.example --events 'page_*,purchase' --rate 500 --address-rate 20",
		"spoor key create --kind read --name dashboard")
}

// Run makes the key.
func (c *keyCreateCmd) Run(ctx context.Context, env *environment, g *globals) error {
	srv, ctx, cancel, err := g.keyServer(ctx)
	if err != nil {
		return err
	}
	defer srv.Close()
	defer cancel()
	k, err := srv.MakeKey(ctx, client.Key{
		Name: c.Name, Kind: c.Kind, Source: c.Source, Origins: c.Origins, Events: c.Events, Rate: c.Rate, AddressRate: c.AddressRate,
	})
	if err != nil {
		return err
	}
	return printMade(env, k, c.JSON)
}

// printMade prints a new key.
func printMade(env *environment, k client.Key, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(env.Stdout).Encode(k)
	}
	_, err := fmt.Fprintf(env.Stderr, "%s key %s, id %s; it is not shown again:\n", k.Kind, k.Name, k.ID)
	if err == nil {
		_, err = fmt.Fprintln(env.Stdout, k.Key)
	}
	return err
}

// keyRotateCmd makes one more key of a name.
type keyRotateCmd struct {
	Name string `arg:"" help:"Name of the key."`
	JSON bool   `help:"Print the whole answer as JSON." name:"json"`
}

// Help implements kong.HelpProvider.
func (keyRotateCmd) Help() string {
	return examples("The new key may do what the older one may. Both are in force until the older one is revoked; there are two of a name at most.",
		"spoor key rotate web-write", "spoor key list", "spoor key revoke 0f61d5a09ce24b7f")
}

// Run makes the key.
func (c *keyRotateCmd) Run(ctx context.Context, env *environment, g *globals) error {
	srv, ctx, cancel, err := g.keyServer(ctx)
	if err != nil {
		return err
	}
	defer srv.Close()
	defer cancel()
	k, err := srv.RotateKey(ctx, c.Name)
	if err != nil {
		return err
	}
	return printMade(env, k, c.JSON)
}

// keyListCmd lists keys.
type keyListCmd struct {
	JSON bool `help:"Print them as JSON, one a line." name:"json"`
}

// Help implements kong.HelpProvider.
func (keyListCmd) Help() string {
	return examples("Lists what is known of each key, which is not the key itself.", "spoor key list", "spoor key list --json | jq -r 'select(.kind == \"write\").id'")
}

// Run lists the keys.
func (c *keyListCmd) Run(ctx context.Context, env *environment, g *globals) error {
	srv, ctx, cancel, err := g.keyServer(ctx)
	if err != nil {
		return err
	}
	defer srv.Close()
	defer cancel()
	keys, warnings, err := srv.Keys(ctx)
	if err != nil {
		return err
	}
	for _, w := range warnings {
		_, _ = fmt.Fprintln(env.Stderr, "spoor: the server says:", w)
	}
	if c.JSON {
		out := json.NewEncoder(env.Stdout)
		for _, k := range keys {
			if err := out.Encode(k); err != nil {
				return err
			}
		}
		return nil
	}
	if len(keys) == 0 {
		_, err := fmt.Fprintln(env.Stdout, "no keys; make one: spoor key create --kind admin --name ops")
		return err
	}
	out := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(out, "ID\tNAME\tKIND\tSOURCE\tMADE\tMAY")
	for _, k := range keys {
		_, _ = fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\t%s\n", k.ID, printable(k.Name), k.Kind, cmp.Or(printable(k.Source), "-"), cmp.Or(k.Made, "-"), mayOf(k))
	}
	return out.Flush()
}

// printable keeps a name from being read as something else by a terminal.
func printable(name string) string {
	quoted := strconv.Quote(name)
	if quoted == `"`+name+`"` && !strings.ContainsAny(name, " \t") {
		return name
	}
	return cmp.Or(quoted, "-")
}

// mayOf says what a key is bound to.
func mayOf(k client.Key) string {
	var parts []string
	if len(k.Origins) > 0 {
		parts = append(parts, "from "+strings.Join(k.Origins, ","))
	}
	if len(k.Events) > 0 {
		parts = append(parts, "events "+strings.Join(k.Events, ","))
	}
	if k.Rate > 0 {
		parts = append(parts, fmt.Sprintf("%g/s", k.Rate))
	}
	if k.AddressRate > 0 {
		parts = append(parts, fmt.Sprintf("%g/s an address", k.AddressRate))
	}
	return cmp.Or(strings.Join(parts, "; "), "-")
}

// keyRevokeCmd ends a key.
type keyRevokeCmd struct {
	ID string `arg:"" help:"Id of the key, as spoor key list shows it."`
}

// Help implements kong.HelpProvider.
func (keyRevokeCmd) Help() string {
	return examples("When it returns the server refuses the key, and other nodes as soon as they have applied the log so far.", "spoor key revoke 0f61d5a09ce24b7f")
}

// Run ends the key.
func (c *keyRevokeCmd) Run(ctx context.Context, env *environment, g *globals) error {
	srv, ctx, cancel, err := g.keyServer(ctx)
	if err != nil {
		return err
	}
	defer srv.Close()
	defer cancel()
	if err := srv.RevokeKey(ctx, c.ID); err != nil {
		return err
	}
	_, err = fmt.Fprintln(env.Stdout, "revoked", c.ID)
	return err
}
