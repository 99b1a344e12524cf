package flannel

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// A memStore is a store in memory with etcd's rules: revisions, leases that
// end, a history that can be forgotten. It can be down, and be wiped.
type memStore struct {
	mu       sync.Mutex
	revision int64
	cluster  uint64
	config   []byte
	records  map[string]Record
	ends     map[string]time.Time
	history  []Changes
	from     int64 // changes up to it are forgotten
	down     bool
	wake     chan struct{}
	onCreate func() // before a Create looks
	grants   int
	most     time.Duration // that is granted, whatever is asked for; 0 for all
}

func newMemStore(config string) *memStore {
	m := &memStore{revision: 1, cluster: 7, records: map[string]Record{}, ends: map[string]time.Time{}, wake: make(chan struct{})}
	if config != "" {
		m.setConfig(config)
	}
	return m
}

var errDown = errors.New("connection refused")

// lock ends what has ended, and says whether the store answers.
func (m *memStore) lock() error {
	m.mu.Lock()
	for key, end := range m.ends {
		if !time.Now().Before(end) {
			m.del(key)
		}
	}
	if m.down {
		return errDown
	}
	return nil
}

func (m *memStore) note(c Changes) {
	c.Revision = m.revision
	m.history = append(m.history, c)
	close(m.wake)
	m.wake = make(chan struct{})
}

func (m *memStore) set(key, value string, ttl time.Duration) Record {
	m.revision++
	r := record(m.revision, key, value)
	if old, ok := m.records[key]; ok {
		r.Created = old.Created
	}
	r.Reserved = ttl == 0
	delete(m.ends, key)
	if ttl != 0 {
		m.grants++
		m.ends[key] = time.Now().Add(ttl)
	}
	m.records[key] = r
	m.note(Changes{Put: []Record{r}})
	return r
}

func (m *memStore) del(key string) {
	if _, ok := m.records[key]; !ok {
		return
	}
	m.revision++
	delete(m.records, key)
	delete(m.ends, key)
	m.note(Changes{Removed: []string{key}})
}

// The hands of an operator, or of another node.

func (m *memStore) setConfig(config string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.revision++
	m.config = []byte(config)
	m.note(Changes{Config: m.config, ConfigChanged: true})
}

func (m *memStore) put(key, value string, ttl time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.set(key, value, ttl)
}

func (m *memStore) remove(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.del(key)
}

// lose deletes a lease and tells nobody.
func (m *memStore) lose(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.revision++
	delete(m.records, key)
}

func (m *memStore) get(key string) (Record, time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.records[key], time.Until(m.ends[key])
}

func (m *memStore) keys() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var keys []string
	for k := range m.records {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (m *memStore) setDown(down bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = down
}

// wipe makes an empty store of the same members: its cluster is the same.
func (m *memStore) wipe() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.revision, m.config, m.history, m.from = 1, nil, nil, 0
	clear(m.records)
	clear(m.ends)
}

func (m *memStore) compact() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.from = m.revision
}

func (m *memStore) List(context.Context) (Listing, error) {
	defer m.mu.Unlock()
	if err := m.lock(); err != nil {
		return Listing{}, err
	}
	l := Listing{Revision: m.revision, Cluster: m.cluster, Config: m.config}
	for _, r := range m.records {
		l.Records = append(l.Records, r)
	}
	return l, nil
}

func (m *memStore) Watch(ctx context.Context, revision int64, told func(Changes)) error {
	for next := revision; ; {
		m.mu.Lock()
		var all []Changes
		forgotten := next < m.from
		for _, c := range m.history {
			if c.Revision > next && !m.down && !forgotten {
				all = append(all, c)
				next = c.Revision
			}
		}
		wake := m.wake
		m.mu.Unlock()
		if forgotten {
			return ErrForgotten
		}
		for _, c := range all {
			told(c)
		}
		select {
		case <-wake:
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (m *memStore) Check(_ context.Context, key string) (Check, error) {
	defer m.mu.Unlock()
	if err := m.lock(); err != nil {
		return Check{}, err
	}
	c := Check{Revision: m.revision, Cluster: m.cluster, Config: m.config, Leases: len(m.records)}
	if r, ok := m.records[key]; ok {
		c.Own = &r
	}
	return c, nil
}

func (m *memStore) Create(_ context.Context, key string, value []byte, ttl time.Duration) (Written, error) {
	if m.onCreate != nil {
		m.onCreate()
	}
	defer m.mu.Unlock()
	if err := m.lock(); err != nil {
		return Written{}, err
	}
	if _, ok := m.records[key]; ok {
		return Written{}, ErrExists
	}
	ttl = m.granted(ttl)
	r := m.set(key, string(value), ttl)
	return Written{r.Modified, time.Now().Add(ttl)}, nil
}

func (m *memStore) Replace(_ context.Context, key string, value []byte, ttl time.Duration, revision int64) (Written, error) {
	defer m.mu.Unlock()
	if err := m.lock(); err != nil {
		return Written{}, err
	}
	if m.records[key].Modified != revision {
		return Written{}, ErrChanged
	}
	ttl = m.granted(ttl)
	r := m.set(key, string(value), ttl)
	w := Written{Revision: r.Modified}
	if ttl != 0 {
		w.Expires = time.Now().Add(ttl)
	}
	return w, nil
}

func (m *memStore) granted(ttl time.Duration) time.Duration {
	if m.most != 0 && ttl != 0 {
		return m.most
	}
	return ttl
}

func (m *memStore) Delete(_ context.Context, key string, revision int64) error {
	defer m.mu.Unlock()
	if err := m.lock(); err != nil {
		return err
	}
	if m.records[key].Modified != revision {
		return ErrChanged
	}
	m.del(key)
	return nil
}
