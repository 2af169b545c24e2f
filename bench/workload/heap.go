package workload

// queue is a binary min-heap of things that happen at a moment (milliseconds
// since the Unix epoch). Its order is a function of what was done to it.
type queue[T any] struct{ items []queued[T] }

type queued[T any] struct {
	at    int64
	thing T
}

func (q *queue[T]) len() int { return len(q.items) }

// first is the earliest item. The queue must not be empty.
func (q *queue[T]) first() *queued[T] { return &q.items[0] }

func (q *queue[T]) push(at int64, thing T) {
	q.items = append(q.items, queued[T]{at, thing})
	i := len(q.items) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if q.items[parent].at <= q.items[i].at {
			return
		}
		q.items[parent], q.items[i] = q.items[i], q.items[parent]
		i = parent
	}
}

// dropFirst removes the earliest item.
func (q *queue[T]) dropFirst() {
	last := len(q.items) - 1
	q.items[0] = q.items[last]
	q.items[last] = queued[T]{} // lets go of what it pointed to
	q.items = q.items[:last]
	if last > 0 {
		q.settleFirst()
	}
}

// settleFirst restores the order after the first item's moment was changed.
func (q *queue[T]) settleFirst() {
	items, i := q.items, 0
	moved := items[0]
	for {
		child := 2*i + 1
		if child >= len(items) {
			break
		}
		if child+1 < len(items) && items[child+1].at < items[child].at {
			child++
		}
		if moved.at <= items[child].at {
			break
		}
		items[i] = items[child]
		i = child
	}
	items[i] = moved
}
