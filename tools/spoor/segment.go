package main

import "errors"

// segmentCmd looks into segment files.
type segmentCmd struct {
	Inspect segmentInspectCmd `cmd:"" help:"Print what a segment holds."`
	Verify  segmentVerifyCmd  `cmd:"" help:"Check every checksum of a segment."`
}

type segmentInspectCmd struct {
	File string `arg:"" type:"path" help:"Segment file."`
}

type segmentVerifyCmd struct {
	Files []string `arg:"" type:"path" help:"Segment files."`
}

// Run prints the segment.
func (c *segmentInspectCmd) Run() error { return errors.New("segment inspect: this build has no segments") }

// Run checks the segments.
func (c *segmentVerifyCmd) Run() error { return errors.New("segment verify: this build has no segments") }
