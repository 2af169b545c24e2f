package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"spoor/cluster"
	"spoor/engine"
	"spoor/engine/event"
	"spoor/engine/traits"
	columns "spoor/segment/batch"
)

// A history is what clients saw of a thing that all nodes hold, while the network falls apart. It has to
// be one that a single copy could have given: each write and each linearizable read, on whichever node, at a moment between
// its call and its answer. A write of unknown outcome may take effect at any moment after its call, or never.

// register is a thing that clients write and read. Values are above 0; 0 is none.
type register struct {
	name string
	// write makes the log entry that stores a value under a key; 0 removes it.
	write func(key string, value int) []byte
	// answer is what a write of the entry's result says.
	answer func(result any) int
	read   func(db *engine.DB, key string) (int, error)
	// step is the model: the state after a write, and what the write answers.
	step   func(state, value int) (after, answer int)
	values int // that are written, from 0 on where removal is possible
}

const (
	done      = 0
	duplicate = 1
)

func last(_, value int) (after, answer int) { return value, done }

func document(kind string) register {
	return register{
		name: kind,
		write: func(key string, value int) []byte {
			if value == 0 {
				return engine.DeleteEntry(kind, key)
			}
			return engine.PutEntry(kind, key, fmt.Appendf(nil, "%d", value))
		},
		answer: func(any) int { return done },
		read: func(db *engine.DB, key string) (value int, err error) {
			d, ok := db.Document(kind, key)
			if ok {
				_, err = fmt.Sscan(string(d.Value), &value)
			}
			return value, err
		},
		step: last, values: 4,
	}
}

var registers = []register{
	document("key"),    // a key that is made and revoked
	document("schema"), // a schema that changes
	{
		name: "consent",
		write: func(key string, value int) []byte { // 1: granted, 2: refused
			return engine.IdentifyEntry(traits.Call{UserID: []byte(key), Time: 1, Traits: []event.Leaf{{Path: "marketing", Kind: columns.KindBool, Bool: value == 1}}})
		},
		answer: func(any) int { return done },
		read: func(db *engine.DB, key string) (int, error) {
			granted, known := db.Consent([]byte(key), nil, "marketing")
			switch {
			case !known:
				return 0, nil
			case granted:
				return 1, nil
			}
			return 2, nil
		},
		step: func(_, value int) (after, answer int) { return 1 + (value+1)%2, done }, values: 3,
	},
	{
		name: "dedupe",
		write: func(key string, value int) []byte {
			return oneEvent(key, value)
		},
		answer: func(result any) int { return result.(*engine.EventsResult).Duplicates },
		read: func(db *engine.DB, key string) (int, error) { // whether the id is stored
			b, err := columns.Decode(oneEvent(key, 1)[1:])
			if err != nil {
				return 0, err
			}
			v, err := db.View()
			if err != nil {
				return 0, err
			}
			defer v.Release()
			n := 0
			for _, r := range v.Segments {
				found, err := r.HasID(b.IDs[0], nil)
				if err != nil {
					return 0, err
				}
				if found {
					n++
				}
			}
			return n, nil
		},
		step: func(state, _ int) (after, answer int) { return 1, state }, values: 3,
	},
}

// oneEvent is an entry with one event whose id is a UUID that the key stands for.
func oneEvent(key string, value int) []byte {
	h := fmt.Sprintf("%032x", []byte(key))
	h = h[len(h)-32:]
	id := h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
	d := event.NewDecoder(event.DefaultLimits())
	line := fmt.Sprintf(`{"eventId":%q,"eventName":"e","userId":"u","timestamp":"2026-05-01T10:00:00Z","properties":{"n":%d}}`, id, value)
	err := d.AddAll([]byte(line), "", func() [16]byte { panic("it has an id") }, func(it event.Item) error {
		if it.Reject != nil {
			return it.Reject
		}
		return nil
	})
	if err != nil {
		panic(err)
	}
	return engine.EventsEntry(nil, d.Seal(1_780_000_000_000_000))
}

type input struct {
	key   string
	write bool
	value int
}

type output struct {
	value   int // that was read, or what a write answered
	unknown bool
}

// model is a register as one copy.
func (r *register) model() porcupine.Model {
	return porcupine.Model{
		Partition: func(history []porcupine.Operation) (parts [][]porcupine.Operation) {
			at := map[string]int{}
			for _, o := range history {
				key := o.Input.(input).key
				i, ok := at[key]
				if !ok {
					i = len(parts)
					at[key] = i
					parts = append(parts, nil)
				}
				parts[i] = append(parts[i], o)
			}
			return parts
		},
		Init: func() any { return 0 },
		Step: func(state, in, out any) (bool, any) {
			i, o := in.(input), out.(output)
			if !i.write {
				return o.value == state.(int), state
			}
			after, answer := r.step(state.(int), i.value)
			return o.unknown || o.value == answer, after
		},
		DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v %+v", in, out) },
	}
}

// client writes and reads at random until ctx ends, and returns what it saw.
func (g *engines) client(ctx context.Context, id int, r *register, keys []string, rng *rand.Rand, began time.Time) (seen []porcupine.Operation) {
	for ctx.Err() == nil {
		pause(ctx, time.Duration(rng.IntN(4000))*time.Microsecond)
		in := input{key: keys[rng.IntN(len(keys))], write: rng.IntN(2) == 0, value: rng.IntN(r.values)}
		op := porcupine.Operation{ClientId: id, Input: in, Call: int64(time.Since(began))}
		var out output
		var err error
		if in.write {
			out, err = g.writeOnce(ctx, r, in, rng)
		} else {
			out, err = g.readOnce(ctx, r, in.key, rng)
		}
		op.Return, op.Output = int64(time.Since(began)), out
		switch {
		case err == nil:
		case in.write && out.unknown:
			op.Return = int64(time.Hour) // it may come yet; this client has to be another one from now on
			id += 1000
		default:
			continue
		}
		seen = append(seen, op)
	}
	return seen
}

func (g *engines) writeOnce(ctx context.Context, r *register, in input, rng *rand.Rand) (output, error) {
	node := g.members[rng.IntN(nodes)].node
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	result, _, err := node.Propose(ctx, r.write(in.key, in.value))
	if err != nil {
		return output{unknown: errors.Is(err, cluster.ErrUnknown)}, err
	}
	return output{value: r.answer(result)}, nil
}

// readOnce asks a leader how far a read has to go, and reads on any node that has come so far.
func (g *engines) readOnce(ctx context.Context, r *register, key string, rng *rand.Rand) (out output, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	lead := g.members[rng.IntN(nodes)].node
	if !lead.IsLeader() {
		return out, cluster.ErrNotLeader
	}
	index, err := lead.ReadIndex(ctx)
	if err != nil {
		return out, err
	}
	m := g.members[rng.IntN(nodes)]
	if err := m.node.WaitApplied(ctx, index); err != nil {
		return out, err
	}
	out.value, err = r.read(m.db, key)
	return out, err
}

func TestHistoriesOfKeysSchemasConsentAndDedupeAreThoseOfOneCopy(t *testing.T) {
	g := startEngines(t, func(_ *cluster.Config, o *engine.Options) { o.FlushRows = 50 })
	rng := rand.New(rand.NewPCG(4, uint64(times(4, int(time.Now().Unix())))))
	var names []string
	for name := range shapes {
		names = append(names, name)
	}
	const clients = 5
	operations, installs := 0, 0
	count := times(20, 500)
	if raceEnabled {
		count = 8
	}
	for history := range count {
		r := &registers[history%len(registers)]
		keys := []string{fmt.Sprintf("k%d-a", history), fmt.Sprintf("k%d-b", history), fmt.Sprintf("k%d-c", history)}
		ctx, cancel := context.WithCancel(context.Background())
		began := time.Now()
		var mu sync.Mutex
		var seen []porcupine.Operation
		var wg sync.WaitGroup
		for c := range clients {
			own := rand.New(rand.NewPCG(uint64(history), uint64(c)))
			wg.Go(func() {
				ops := g.client(ctx, c, r, keys, own, began)
				mu.Lock()
				defer mu.Unlock()
				seen = append(seen, ops...)
			})
		}
		pause(ctx, 150*time.Millisecond)
		if lead := g.leader(); lead != nil {
			a := (lead.i + 1 + rng.IntN(2)) % nodes
			g.set(0, true, shapes[names[rng.IntN(len(names))]](lead.i, a, nodes-lead.i-a))
		}
		pause(ctx, 450*time.Millisecond)
		if rng.IntN(2) == 0 {
			for _, m := range g.members {
				_ = m.node.Checkpoint(within(t))
			}
		}
		g.heal()
		require.Eventually(t, func() bool { return g.leader() != nil }, settleTime, time.Millisecond)
		pause(ctx, 300*time.Millisecond)
		cancel()
		wg.Wait()
		operations += len(seen)
		result, info := porcupine.CheckOperationsVerbose(r.model(), seen, 30*time.Second)
		if result != porcupine.Ok {
			file := t.TempDir() + "/history.html"
			_ = porcupine.VisualizePath(r.model(), info, file)
			t.Fatalf("history %d of %s is %s: %d operations", history, r.name, result, len(seen))
		}
	}
	for _, m := range g.members {
		installs += m.node.Status().Install.Done
	}
	t.Logf("%d operations, %d states taken over", operations, installs)
	require.Greater(t, operations, 20*count)
}

func TestAHistoryThatNoSingleCopyCouldGiveIsFound(t *testing.T) {
	for i := range registers {
		r := &registers[i]
		one := func(call, ret int64, in input, out output) porcupine.Operation {
			return porcupine.Operation{Call: call, Return: ret, Input: in, Output: out}
		}
		written := one(1, 2, input{"k", true, 1}, output{value: done})
		after, _ := r.step(0, 1)
		require.True(t, porcupine.CheckOperations(r.model(), []porcupine.Operation{written, one(3, 4, input{key: "k"}, output{value: after})}))
		require.False(t, porcupine.CheckOperations(r.model(), []porcupine.Operation{written, one(3, 4, input{key: "k"}, output{value: 0})}), "%s: a stale read", r.name)
	}
	dedupe := &registers[3]
	first := porcupine.Operation{Call: 1, Return: 2, Input: input{"k", true, 1}, Output: output{value: done}}
	second := porcupine.Operation{Call: 3, Return: 4, Input: input{"k", true, 2}, Output: output{value: done}}
	require.False(t, porcupine.CheckOperations(dedupe.model(), []porcupine.Operation{first, second}), "accepted twice")
	second.Output = output{value: duplicate}
	require.True(t, porcupine.CheckOperations(dedupe.model(), []porcupine.Operation{first, second}))
}
