package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func reportOf(t *testing.T, dir string, events int, peers bool) string {
	t.Helper()
	system := func(name string, ms int) string {
		return fmt.Sprintf(`{"system":%q,"median_ms":%d,"peak_rss_bytes":%d}`, name, ms, events*100)
	}
	load := func(name string) string {
		return fmt.Sprintf(`{"name":%q,"cpu_micros_per_event":2.5,"disk_bytes_per_event":33,"peak_rss_bytes":%d,"events_per_second":500000}`, name, events*100)
	}
	times, loads := system("Spoor", events/100_000), load("Spoor")
	if peers {
		times += "," + system("ClickHouse 26.9 (chdb 4.4)", events/10_000)
		loads += "," + load("ClickHouse 26.9 (chdb 4.4)")
	}
	text := fmt.Sprintf(`{"events":%d,"loads":[%s],"questions":[{"name":"4-step funnel, 7 days, all persons","times":[%s]},{"name":"another","times":[%[3]s]}]}`, events, loads, times)
	name := filepath.Join(dir, fmt.Sprint(events, ".json"))
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestReportsOfSeveralSizesBecomePicturesAlsoWhereOnlySomeHavePeers(t *testing.T) {
	dir := t.TempDir()
	files := []string{reportOf(t, dir, 50_000_000, false), reportOf(t, dir, 1_000_000, true), reportOf(t, dir, 10_000_000, true)}
	out := filepath.Join(dir, "images")
	if err := run(out, files); err != nil {
		t.Fatal(err)
	}
	for name, wanted := range map[string][]string{
		"scale-queries.svg": {"another", "4-step funnel, 7 days, all", "persons", "Spoor", ">ClickHouse<", "1 M", "10 M", "50 M", "milliseconds"},
		"scale-memory.svg":  {"another", "Spoor", "50 M", "peak MiB"},
		"scale-load.svg":    {"events per second", "disk, bytes an event", "peak memory, MiB", "500 k"},
	} {
		text, err := os.ReadFile(filepath.Join(out, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range wanted {
			if !strings.Contains(string(text), w) {
				t.Errorf("%s says nothing of %q", name, w)
			}
		}
	}
}

func TestWhatIsNoReportIsRefused(t *testing.T) {
	dir := t.TempDir()
	good := reportOf(t, dir, 1_000_000, false)
	bad := filepath.Join(dir, "bad.json")
	if err := os.WriteFile(bad, []byte(`{"rows":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, files := range [][]string{nil, {good}, {good, bad}, {good, filepath.Join(dir, "missing.json")}} {
		if run(dir, files) == nil {
			t.Errorf("%v became pictures", files)
		}
	}
}
