package event

import (
	"slices"

	"spoor/segment/batch"
)

// RowOf is a row of a batch, with its source. It shares the batch's texts.
func RowOf(b *batch.Batch, row int) *Row {
	e := &Row{ID: b.IDText(nil, row), Time: b.Times[row]}
	e.Name, _ = b.Names.At(row)
	e.UserID, _ = b.Users.At(row)
	e.AnonymousID, _ = b.Anons.At(row)
	e.Shape, _ = b.Shapes.At(row)
	e.Source, _ = b.Sources.At(row)
	for i := range b.Columns {
		c := &b.Columns[i]
		j := row
		if c.Rows != nil {
			var ok bool
			if j, ok = slices.BinarySearch(c.Rows, uint32(row)); !ok {
				continue
			}
		}
		l := Leaf{Path: c.Path, Kind: c.Kind}
		switch c.Kind {
		case batch.KindNumber:
			l.Num = c.Nums[j]
		case batch.KindInt:
			l.Int = c.Ints[j]
		case batch.KindBool:
			l.Bool = c.Bools[j]
		case batch.KindNull:
		default:
			l.Text = c.Text(j)
		}
		e.Leaves = append(e.Leaves, l)
	}
	return e
}
