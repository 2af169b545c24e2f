package parquetfile

import (
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress/zstd"
)

// Person is one id of a person, or its traits. A file of them says who is who:
//
//	userId       string, optional: absent for somebody who never logged in
//	anonymousId  string, optional: absent for a user who never was anonymous
//	traits       string, optional: JSON, in the first row of the person
//
// The rows of a person follow one another, its anonymousIds the oldest link first.
type Person struct {
	UserID      *string `parquet:"userId,optional,zstd"`
	AnonymousID *string `parquet:"anonymousId,optional,zstd"`
	Traits      *string `parquet:"traits,optional,zstd"`
}

// PersonWriter writes who is who.
type PersonWriter struct {
	w    *parquet.GenericWriter[Person]
	rows int
}

// NewPersonWriter begins a file.
func NewPersonWriter(out io.Writer) *PersonWriter {
	return &PersonWriter{w: parquet.NewGenericWriter[Person](out,
		parquet.Compression(&zstd.Codec{Level: zstd.SpeedDefault}), parquet.MaxRowsPerRowGroup(groupRows), parquet.CreatedBy(createdBy, "1", ""))}
}

// Rows is how many rows were added.
func (w *PersonWriter) Rows() int { return w.rows }

// Add adds a person; traits is a JSON object.
func (w *PersonWriter) Add(userID []byte, anonymousIDs [][]byte, traits []byte) error {
	rows := make([]Person, 0, max(1, len(anonymousIDs)))
	for _, a := range anonymousIDs {
		text := string(a)
		rows = append(rows, Person{AnonymousID: &text})
	}
	if len(rows) == 0 {
		rows = append(rows, Person{})
	}
	if userID != nil {
		text := string(userID)
		for i := range rows {
			rows[i].UserID = &text
		}
	}
	if text := string(traits); text != "{}" && text != "" {
		rows[0].Traits = &text
	}
	n, err := w.w.Write(rows)
	w.rows += n
	if err != nil {
		return fmt.Errorf("write a person as Parquet: %w", err)
	}
	return nil
}

// Close writes the footer.
func (w *PersonWriter) Close() error {
	if err := w.w.Close(); err != nil {
		return fmt.Errorf("write the footer of Parquet: %w", err)
	}
	return nil
}

// EachPerson calls f with the rows of a file of who is who.
func EachPerson(in io.ReaderAt, size int64, f func(*Person) error) (err error) {
	file, err := open(in, size)
	if err != nil {
		return err
	}
	defer recovered(&err)
	r := parquet.NewGenericReader[Person](file)
	defer r.Close()
	var rows [512]Person
	for {
		n, err := r.Read(rows[:])
		for i := range rows[:n] {
			if err := f(&rows[i]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read who is who from Parquet: %w", err)
		}
	}
}
