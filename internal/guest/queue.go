package guest

import "sync"

// queue hands out tasks to workers, the newest first: that keeps the walk near
// one branch, and so the number of open folders small.
type queue struct {
	mu     sync.Mutex
	wake   *sync.Cond
	tasks  []task
	active int
}

// task is a folder to read, or a file to hash when node is set and folder is false.
type task struct {
	parent *folder
	name   string
	node   *node
	seen   fingerprint
	folder bool
}

func newQueue() *queue {
	q := &queue{}
	q.wake = sync.NewCond(&q.mu)
	return q
}

func (q *queue) push(t task) {
	q.mu.Lock()
	q.tasks = append(q.tasks, t)
	q.mu.Unlock()
	q.wake.Signal()
}

// next waits for a task; false means that every task is done and none can come.
func (q *queue) next() (task, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.tasks) == 0 {
		if q.active == 0 {
			q.wake.Broadcast()
			return task{}, false
		}
		q.wake.Wait()
	}
	t := q.tasks[len(q.tasks)-1]
	q.tasks[len(q.tasks)-1] = task{}
	q.tasks = q.tasks[:len(q.tasks)-1]
	q.active++
	return t, true
}

// done ends the task that the caller took with next.
func (q *queue) done() {
	q.mu.Lock()
	q.active--
	last := q.active == 0 && len(q.tasks) == 0
	q.mu.Unlock()
	if last {
		q.wake.Broadcast()
	}
}
