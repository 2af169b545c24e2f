package peers

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Report is what a run has measured. Times are seconds and milliseconds as their names say, sizes bytes.
type Report struct {
	Machine   Machine    `json:"machine"`
	Events    int64      `json:"events"` // lines of the file, resends among them
	Seed      uint64     `json:"seed"`
	Runs      int        `json:"runs"` // of each question, after one for warmth
	Loads     []Load     `json:"loads"`
	Questions []Question `json:"questions"`
}

// Machine is where it ran.
type Machine struct {
	Processor string `json:"processor"`
	Cores     int    `json:"cores"`
	Memory    int64  `json:"memory_bytes"`
	Kernel    string `json:"kernel"`
	Go        string `json:"go"`
}

// Load is how one system took the events.
type Load struct {
	Name           string  `json:"name"`
	Seconds        float64 `json:"load_seconds"`     // until the last event is taken
	CPU            float64 `json:"load_cpu_seconds"` // of the system's process; Spoor's until compacted
	PrepareSeconds float64 `json:"prepare_seconds"`  // from there until it can be asked: Spoor's compaction
	PrepareCPU     float64 `json:"prepare_cpu_seconds"`
	PeakRSS        int64   `json:"peak_rss_bytes"`
	Bytes          int64   `json:"disk_bytes"`        // Spoor's with its log and all indexes
	PackedBytes    int64   `json:"packed_disk_bytes"` // with the strongest compression, where that is not what is asked
	PerSecond      float64 `json:"events_per_second"`
	Micros         float64 `json:"cpu_micros_per_event"`
	BytesPerEvent  float64 `json:"disk_bytes_per_event"`
}

func (l *Load) derive(events int64) {
	n := float64(events)
	l.PerSecond, l.Micros, l.BytesPerEvent = n/l.Seconds, l.CPU*1e6/n, float64(l.Bytes)/n
}

// Question is one question as each system answered it.
type Question struct {
	Name  string  `json:"name"`
	Text  string  `json:"query"`
	Times []Times `json:"times"`
	// Ratio is the fastest peer's median by Spoor's, 0 without peers.
	Ratio float64 `json:"ratio_to_fastest_peer"`
}

// Times of one system, in milliseconds.
type Times struct {
	System  string  `json:"system"`
	Median  float64 `json:"median_ms"`
	Fastest float64 `json:"fastest_ms"`
	Slowest float64 `json:"slowest_ms"`
	PeakRSS int64   `json:"peak_rss_bytes"` // of the system while it was asked this, what it holds anyway included
	// Once: it took so long that it was asked once, cold.
	Once bool `json:"once,omitempty"`
	// Differs tells where the answer is not Spoor's; a time of a wrong answer is no result.
	Differs string `json:"differs,omitempty"`
}

func timesOf(system string, took []time.Duration) Times {
	slices.Sort(took)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return Times{System: system, Median: ms(took[len(took)/2]), Fastest: ms(took[0]), Slowest: ms(took[len(took)-1])}
}

// finish computes what follows from the times. The first is Spoor's.
func (q *Question) finish() {
	fastest := 0.0
	for _, t := range q.Times[1:] {
		if t.Differs == "" && (fastest == 0 || t.Median < fastest) {
			fastest = t.Median
		}
	}
	if own := q.Times[0].Median; own > 0 {
		q.Ratio = fastest / own
	}
}

// Equal tells whether all systems answered the same.
func (r *Report) Equal() bool {
	for _, q := range r.Questions {
		for _, t := range q.Times {
			if t.Differs != "" {
				return false
			}
		}
	}
	return true
}

// WriteTable writes the report for a person.
func (r *Report) WriteTable(out io.Writer) error {
	w := bufio.NewWriter(out)
	m := r.Machine
	_, _ = fmt.Fprintf(w, "%s, %d cores, %.0f GiB, Linux %s, %s; %d events of seed %d, median of %d (fastest to slowest)\n\n",
		m.Processor, m.Cores, float64(m.Memory)/(1<<30), m.Kernel, m.Go, r.Events, r.Seed, r.Runs)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "ingest\tevents/s\tCPU us/event\t+ prepare\tpeak MiB\tdisk B/event\tpacked")
	for _, l := range r.Loads {
		prepare, packed := "", ""
		if l.PrepareCPU > 0 {
			prepare = fmt.Sprintf("%.2f", l.PrepareCPU*1e6/float64(r.Events))
		}
		if l.PackedBytes > 0 {
			packed = fmt.Sprintf("%.1f", float64(l.PackedBytes)/float64(r.Events))
		}
		_, _ = fmt.Fprintf(t, "%s\t%.0f\t%.2f\t%s\t%.0f\t%.1f\t%s\n", l.Name, l.PerSecond, l.Micros, prepare, float64(l.PeakRSS)/(1<<20), l.BytesPerEvent, packed)
	}
	_ = t.Flush()
	_, _ = fmt.Fprintln(w)
	if len(r.Questions) > 0 {
		head := []string{"milliseconds"}
		for _, q := range r.Questions[0].Times {
			head = append(head, q.System)
		}
		_, _ = fmt.Fprintln(t, strings.Join(append(head, "ratio", "answers"), "\t"))
	}
	for _, q := range r.Questions {
		line, same := []string{q.Name}, "equal"
		for _, s := range q.Times {
			if s.Once {
				line = append(line, fmt.Sprintf("%.1f (once)", s.Median))
			} else {
				line = append(line, fmt.Sprintf("%.1f (%.1f to %.1f)", s.Median, s.Fastest, s.Slowest))
			}
			if s.Differs != "" {
				same = "DIFFER: " + s.System + ": " + s.Differs
			}
		}
		ratio := ""
		if len(q.Times) > 1 {
			ratio = fmt.Sprintf("%.1f x", q.Ratio)
		} else {
			same = ""
		}
		_, _ = fmt.Fprintln(t, strings.Join(append(line, ratio, same), "\t"))
	}
	_ = t.Flush()
	return w.Flush()
}

// Compare writes the medians of two runs side by side: b by a.
func Compare(out io.Writer, a, b *Report) error {
	if a.Events != b.Events || a.Machine.Processor != b.Machine.Processor || a.Machine.Cores != b.Machine.Cores {
		if _, err := fmt.Fprintf(out, "Not of one machine and size: %s, %d cores, %d events; %s, %d cores, %d events.\n",
			a.Machine.Processor, a.Machine.Cores, a.Events, b.Machine.Processor, b.Machine.Cores, b.Events); err != nil {
			return err
		}
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	line := func(name string, before, after float64) {
		ratio := "-"
		if before > 0 {
			ratio = fmt.Sprintf("%.2f", after/before)
		}
		_, _ = fmt.Fprintf(t, "%s\t%.2f\t%.2f\t%s\n", name, before, after, ratio)
	}
	_, _ = fmt.Fprintln(t, "\tbefore\tafter\tratio")
	for _, old := range a.Loads {
		if i := slices.IndexFunc(b.Loads, func(l Load) bool { return l.Name == old.Name }); i >= 0 {
			line(old.Name+": CPU us/event", old.Micros, b.Loads[i].Micros)
			line(old.Name+": disk B/event", old.BytesPerEvent, b.Loads[i].BytesPerEvent)
			line(old.Name+": peak MiB", float64(old.PeakRSS)/(1<<20), float64(b.Loads[i].PeakRSS)/(1<<20))
		}
	}
	for _, old := range a.Questions {
		i := slices.IndexFunc(b.Questions, func(q Question) bool { return q.Name == old.Name })
		if i < 0 {
			continue
		}
		for _, s := range old.Times {
			if j := slices.IndexFunc(b.Questions[i].Times, func(t Times) bool { return t.System == s.System }); j >= 0 {
				line(s.System+": "+old.Name+" (ms)", s.Median, b.Questions[i].Times[j].Median)
			}
		}
	}
	return t.Flush()
}

// describe asks the system what machine this is; what it does not tell stays empty.
func describe() Machine {
	m := Machine{Cores: runtime.GOMAXPROCS(0), Go: runtime.Version()}
	field := func(file, name string) string {
		text, _ := os.ReadFile(file)
		for line := range strings.Lines(string(text)) {
			if rest, ok := strings.CutPrefix(line, name); ok {
				return strings.TrimSpace(strings.TrimLeft(rest, " \t:"))
			}
		}
		return ""
	}
	m.Processor = field("/proc/cpuinfo", "model name")
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	m.Kernel = strings.TrimSpace(string(kernel))
	var kib int64
	_, _ = fmt.Sscanf(field("/proc/meminfo", "MemTotal"), "%d", &kib)
	m.Memory = kib << 10
	return m
}
