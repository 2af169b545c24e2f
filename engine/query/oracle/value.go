package oracle

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"

	"spoor/engine/query/lang"
)

// valueKind is the type of a value. The order is that of keys in an answer.
type valueKind int

const (
	missing valueKind = iota
	null              // an explicit null: it exists, but every grouping takes it for missing
	boolean
	number
	moment // of timestamp and receivedAt
	text
	other // an array or an empty object
)

// value is a value of a field.
type value struct {
	kind  valueKind
	bool  bool
	num   *big.Rat // exactly as sent
	time  int64    // microseconds
	text  string   // of text; of other its JSON; of number how it was sent
	float float64  // of number, the nearest
}

// valueOf reads decoded JSON. An object with members has no value of its own: its members have.
func valueOf(v any) value {
	switch v := v.(type) {
	case nil:
		return value{kind: null}
	case bool:
		return value{kind: boolean, bool: v}
	case string:
		return value{kind: text, text: v}
	case json.Number:
		return numberOf(string(v))
	case float64:
		return numberOf(strconv.FormatFloat(v, 'g', -1, 64))
	case int:
		return numberOf(strconv.Itoa(v))
	case map[string]any:
		if len(v) > 0 {
			return value{}
		}
	}
	raw, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("oracle: a property that is no JSON: %v", err))
	}
	return value{kind: other, text: string(raw)}
}

func numberOf(digits string) value {
	r, ok := new(big.Rat).SetString(digits)
	if !ok {
		panic("oracle: no number: " + digits)
	}
	f, _ := r.Float64()
	return value{kind: number, num: r, float: f, text: digits}
}

// present tells whether groupings and aggregations see the value.
func (v value) present() bool { return v.kind > null }

// identity is the same for equal values alone; missing and null are one.
func (v value) identity() string {
	switch v.kind {
	case boolean:
		return "b" + strconv.FormatBool(v.bool)
	case number:
		return "n" + v.num.RatString()
	case moment:
		return "m" + strconv.FormatInt(v.time, 10)
	case text:
		return "t" + v.text
	case other:
		return "o" + v.text
	}
	return ""
}

// json is the value as it stands in a key of an answer.
func (v value) json(loc *time.Location) any {
	switch v.kind {
	case boolean:
		return v.bool
	case number:
		if exact, _ := new(big.Rat).SetString(strconv.FormatFloat(v.float, 'g', -1, 64)); exact.Cmp(v.num) == 0 {
			return v.float
		}
		return json.Number(v.text)
	case moment:
		return formatTime(v.time, loc)
	case text:
		return v.text
	case other:
		return json.RawMessage(v.text)
	}
	return nil
}

func compareValues(a, b value) int {
	if !a.present() || !b.present() || a.kind != b.kind {
		rank := func(v value) valueKind {
			if v.kind == null {
				return missing
			}
			return v.kind
		}
		return cmp.Compare(rank(a), rank(b))
	}
	switch a.kind {
	case boolean:
		return cmp.Compare(strconv.FormatBool(a.bool), strconv.FormatBool(b.bool))
	case number:
		return a.num.Cmp(b.num)
	case moment:
		return cmp.Compare(a.time, b.time)
	}
	return strings.Compare(a.text, b.text)
}

// read is the value of a field of a person's event.
func read(p *person, e *Event, f *lang.Field) value {
	plain := func(s string) value {
		if s == "" {
			return value{}
		}
		return value{kind: text, text: s}
	}
	switch f.Scope {
	case lang.ScopeProperty:
		return lookup(e.Properties, f.Keys)
	case lang.ScopeContext:
		return lookup(e.Context, f.Keys)
	case lang.ScopeUser:
		return lookup(p.traits, f.Keys)
	case lang.ScopeUserID:
		return plain(e.UserID)
	case lang.ScopeAnonymousID:
		return plain(e.AnonymousID)
	case lang.ScopeEventName:
		return plain(e.Name)
	case lang.ScopeSource:
		return plain(e.Source)
	case lang.ScopeTimestamp:
		return value{kind: moment, time: e.Time}
	case lang.ScopeReceivedAt:
		return value{kind: moment, time: e.ReceivedAt}
	}
	panic(fmt.Sprintf("oracle: unknown scope %d", f.Scope))
}

// lookup follows keys into nested objects.
func lookup(object map[string]any, keys []string) value {
	v, ok := object[keys[0]]
	if !ok {
		return value{}
	}
	if len(keys) == 1 {
		return valueOf(v)
	}
	inner, ok := v.(map[string]any)
	if !ok {
		return value{}
	}
	return lookup(inner, keys[1:])
}

func formatTime(micros int64, loc *time.Location) string {
	return time.UnixMicro(micros).In(loc).Format(time.RFC3339Nano)
}
