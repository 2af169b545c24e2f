package ingest

// Report is what was measured. Times are seconds, sizes bytes; what could not be
// measured is 0.
type Report struct {
	Events      int64 `json:"events"` // that were sent, resends among them
	Accepted    int64 `json:"accepted"`
	Duplicates  int64 `json:"duplicates"`
	Rejected    int64 `json:"rejected"`
	Retries     int64 `json:"retries"` // requests that were answered 503 or 429
	Batch       int   `json:"batch"`
	Connections int   `json:"connections"`

	LoadSeconds     float64 `json:"load_seconds"` // until the last answer
	EventsPerSecond float64 `json:"events_per_second"`
	LatencyP50      float64 `json:"latency_p50_seconds"` // of one request
	LatencyP99      float64 `json:"latency_p99_seconds"`
	LatencyMax      float64 `json:"latency_max_seconds"`
	CompactSeconds  float64 `json:"compact_seconds"` // from the last answer until everything is in its final file

	ServerLoad   float64 `json:"server_load_cpu_seconds"`
	ServerCPU    float64 `json:"server_cpu_seconds"`          // from the first byte until everything is compacted
	ServerMicros float64 `json:"server_cpu_micros_per_event"` // the same by event
	LoaderCPU    float64 `json:"loader_cpu_seconds"`          // while loading
	PeakRSS      int64   `json:"server_peak_rss_bytes"`

	DataBytes       int64   `json:"data_bytes"`  // of the data directory, once compacted
	StoreBytes      int64   `json:"store_bytes"` // without the Raft log
	Files           int     `json:"files"`
	WrittenPerEvent float64 `json:"written_bytes_per_event"` // by write calls: log, flushes, merges; answers are next to nothing

	ReadyEmpty   float64 `json:"ready_empty_seconds"` // first start
	Stop         float64 `json:"stop_seconds"`
	ReadyStopped float64 `json:"ready_after_stop_seconds"`
	ReadStopped  int64   `json:"ready_after_stop_read_bytes"`
	ReadyKilled  float64 `json:"ready_after_kill_seconds"`
	ReadKilled   int64   `json:"ready_after_kill_read_bytes"`
}

// BytesPerEvent is the data directory by stored event.
func (r *Report) BytesPerEvent() float64 { return perEvent(r.DataBytes, r.Accepted) }

// StoreBytesPerEvent is the data directory without the Raft log by stored event.
func (r *Report) StoreBytesPerEvent() float64 { return perEvent(r.StoreBytes, r.Accepted) }

func perEvent(bytes, events int64) float64 {
	if events == 0 {
		return 0
	}
	return float64(bytes) / float64(events)
}
