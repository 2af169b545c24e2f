package event

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"

	"spoor/segment/batch"
)

// shared is where data for tests stands that is no part of the project.
const shared = "../../../shared/data"

func sharedFiles(t *testing.T, pattern string) []string {
	files, err := filepath.Glob(filepath.Join(shared, pattern))
	require.NoError(t, err)
	if len(files) == 0 {
		t.Skipf("%s/%s is absent", shared, pattern)
	}
	return files
}

// keysTwice are two files of the suite that JSON's grammar allows and Spoor
// refuses, everywhere alike.
var keysTwice = map[string]bool{"y_object_duplicated_key.json": true, "y_object_duplicated_key_and_value.json": true}

func asProperty(value string) string {
	return `{"eventId":"e1","eventName":"t","userId":"u","properties":{"x":` + value + `}}`
}

func TestJSONTestSuiteAsTheWholeBody(t *testing.T) {
	for _, file := range sharedFiles(t, "hostile/jsontestsuite/test_parsing/*.json") {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		name := filepath.Base(file)
		start := time.Now()
		_, rej := NewDecoder(DefaultLimits()).Add(data, "", noID)
		require.Less(t, time.Since(start), 100*time.Millisecond, name)
		require.NotNil(t, rej, name)
		isObject := strings.HasPrefix(strings.TrimLeft(string(data), " \t\r\n"), "{")
		switch {
		case keysTwice[name]:
			require.Equal(t, CodeDuplicateKey, rej.Code, name)
		case name[0] == 'y' && isObject:
			require.Equal(t, CodeMissingName, rej.Code, name)
		case name[0] == 'y':
			require.Equal(t, CodeNotObject, rej.Code, name)
		case name[0] == 'n':
			require.Contains(t, []string{CodeMalformed, CodeInvalidUTF8, CodeTooDeep}, rej.Code, name)
		}
	}
}

func TestJSONTestSuiteAsAPropertyValue(t *testing.T) {
	for _, file := range append(sharedFiles(t, "hostile/jsontestsuite/test_parsing/*.json"), sharedFiles(t, "hostile/jsontestsuite/test_transform/*.json")...) {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		name := filepath.Base(file)
		event := asProperty(string(data))
		d := NewDecoder(DefaultLimits())
		start := time.Now()
		_, rej := d.Add([]byte(event), "", noID)
		require.Less(t, time.Since(start), 100*time.Millisecond, name)
		switch {
		case keysTwice[name]:
			require.NotNil(t, rej)
			require.Equal(t, CodeDuplicateKey, rej.Code, name)
		case strings.HasPrefix(name, "y_"):
			require.Nil(t, rej, "%s: %v", name, rej)
		case strings.HasPrefix(name, "n_"):
			require.NotNil(t, rej, name)
		}
		if rej == nil {
			sameJSON(t, event, roundTrip(t, d, event))
		}
	}
}

func TestJSONTestSuiteAsOneBadLine(t *testing.T) {
	for _, file := range sharedFiles(t, "hostile/jsontestsuite/test_parsing/*.json") {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		name := filepath.Base(file)
		if bytes.IndexByte(data, '\n') >= 0 || len(bytes.Trim(data, " \t\r")) == 0 {
			continue
		}
		d := NewDecoder(DefaultLimits())
		items, err := collect(d, good+"\n"+string(data)+"\n"+good)
		require.NoError(t, err, name)
		require.Len(t, items, 3, name)
		require.Nil(t, items[0].Reject, name)
		require.NotNil(t, items[1].Reject, name)
		require.Nil(t, items[2].Reject, name)
		require.Equal(t, 2, d.Rows())
	}
}

// What the suite leaves open is decided and documented.
func TestOpenCasesOfTheJSONTestSuite(t *testing.T) {
	accepted := []string{"i_number_double_huge_neg_exp", "i_number_real_underflow", "i_number_too_big_neg_int", "i_number_too_big_pos_int", "i_number_very_big_negative_int"}
	for _, file := range sharedFiles(t, "hostile/jsontestsuite/test_parsing/i_*.json") {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		_, rej := NewDecoder(DefaultLimits()).Add([]byte(asProperty(string(data))), "", noID)
		ok := false
		for _, a := range accepted {
			ok = ok || a == name
		}
		require.Equal(t, ok, rej == nil, "%s: %v", name, rej)
	}
}

func TestUTF8SequencesAreKeptOrRefused(t *testing.T) {
	for _, file := range sharedFiles(t, "hostile/utf8tests.*") {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		for line := range bytes.Lines(data) {
			checkAgainstReference(t, with(`"x":"`+string(bytes.TrimRight(line, "\r\n"))+`"`))
			checkAgainstReference(t, with(`"`+string(bytes.TrimRight(line, "\r\n"))+`":1`))
		}
	}
}

// The whole of a real data set comes back as it was sent, through lines and
// through the batch's encoded form.
func TestRealDataSetsComeBackAsTheyWereSent(t *testing.T) {
	for _, file := range sharedFiles(t, "*.ndjson.gz") {
		f, err := os.Open(file)
		require.NoError(t, err)
		defer f.Close()
		zr, err := gzip.NewReader(f)
		require.NoError(t, err)
		sc := bufio.NewScanner(zr)
		d := NewDecoder(DefaultLimits())
		var sent []string
		total := 0
		check := func() {
			if len(sent) == 0 {
				return
			}
			_, err := collect(d, strings.Join(sent, "\n"))
			require.NoError(t, err)
			require.Equal(t, len(sent), d.Rows())
			b, err := batch.Decode(d.Seal(1.7e15).AppendEncoded(nil))
			require.NoError(t, err)
			for i := range sent {
				if got := string(AppendJSON(nil, RowOf(b, i))); got != sent[i] {
					sameJSON(t, sent[i], got)
				}
			}
			total += len(sent)
			sent = sent[:0]
		}
		for sc.Scan() {
			if sent = append(sent, sc.Text()); len(sent) == 200 {
				check()
			}
			if (testing.Short() || raceEnabled) && total > 2000 {
				break
			}
		}
		require.NoError(t, sc.Err())
		check()
		require.NotZero(t, total)
	}
}

// limitCodes are reasons that are no matter of JSON's grammar.
var limitCodes = map[string]bool{
	CodeNotObject: true, CodeTooDeep: true, CodeTooManyKeys: true, CodeKeyTooLong: true, CodeStringTooLong: true, CodeNumberTooLong: true,
	CodeNumberRange: true, CodeEventTooLarge: true, CodeMissingName: true, CodeBadName: true, CodeMissingPerson: true, CodeBadPerson: true,
	CodeBadEventID: true, CodeBadTimestamp: true, CodeBadProperties: true,
}

// checkAgainstReference holds the decoder against the strict reader: what it
// accepts is valid and comes back equal, what it refuses as JSON is invalid.
func checkAgainstReference(t *testing.T, event string) {
	d := NewDecoder(DefaultLimits())
	row, rej := d.Add([]byte(event), "", noID)
	valid := jsontext.Value(strings.TrimPrefix(event, "\xef\xbb\xbf")).IsValid()
	if rej != nil {
		require.Equal(t, 0, d.Rows())
		if valid && !limitCodes[rej.Code] {
			t.Fatalf("refused: %v\n%q", rej, event)
		}
		return
	}
	if !valid {
		t.Fatalf("accepted: %q", event)
	}
	b, err := batch.Decode(d.Seal(1.7e15).AppendEncoded(nil))
	require.NoError(t, err)
	require.Equal(t, 0, row)
	back := string(AppendJSON(nil, RowOf(b, row)))
	require.True(t, jsontext.Value(back).IsValid(), "%q", back)
	// Values are those that the strict reader finds. Of an event without an id, the
	// given one is taken out again.
	sent, got := strings.TrimPrefix(event, "\xef\xbb\xbf"), back
	var members map[string]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(sent), &members))
	if _, ok := members["eventId"]; !ok {
		got = strings.Replace(back, `"eventId":"00000000-0000-0000-0000-000000000000",`, "", 1)
	}
	sameJSON(t, sent, got)

	// Given back once, an event stays the same for ever.
	d2 := NewDecoder(DefaultLimits())
	_, rej = d2.Add([]byte(back), "", noID)
	require.Nil(t, rej, "%q", back)
	require.Equal(t, back, string(AppendJSON(nil, RowOf(d2.Seal(0), 0))))
}

func FuzzAddAgainstJSONText(f *testing.F) {
	for _, s := range []string{
		good, bad, with(`"timestamp":"2026-05-01T10:20:30.123456789+02:00"`), with(`"properties":{"a":[1.5e-3,{"b":"\ud83d\ude00"}],"":{}}`),
		with(`"x":-0.0,"y":1e400,"z":9007199254740993`), "\xef\xbb\xbf" + good, with(` "p" : [ { "a" : null , "a" : true } ] `),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		checkAgainstReference(t, string(data))
		checkAgainstReference(t, asProperty(string(data)))
	})
}

// Bodies of any bytes give verdicts or an error; each line's verdict is that of
// the line alone.
func FuzzAddAll(f *testing.F) {
	for _, s := range []string{good + "\n" + bad, "[" + good + "," + bad + "]", `{"sentAt":1,"batch":[` + good + `]}`, "[[", "\n\n{}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d := NewDecoder(DefaultLimits())
		items, err := collect(d, string(data))
		if err != nil {
			require.Zero(t, d.Rows())
			return
		}
		accepted := 0
		for _, it := range items {
			_, rej := NewDecoder(DefaultLimits()).Add(it.Raw, "", noID)
			if it.Reject == nil {
				accepted++
				require.Nil(t, rej, "%q", it.Raw)
			} else if !bytes.HasPrefix(it.Raw, []byte("\xef\xbb\xbf")) {
				require.NotNil(t, rej, "%q", it.Raw)
			}
		}
		require.Equal(t, accepted, d.Rows())
		_, err = batch.Decode(d.Seal(0).AppendEncoded(nil))
		require.NoError(t, err)
	})
}
