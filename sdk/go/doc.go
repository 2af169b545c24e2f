// Package spoor sends events from an application to a Spoor server.
package spoor
