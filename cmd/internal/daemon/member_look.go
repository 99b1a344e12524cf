package daemon

import (
	"time"

	"go.uber.org/zap"

	"vtepd/route/flannel"
)

// lookEvery is how often a member looks at its interface to the other nodes.
const lookEvery = 2 * time.Second

// look takes up what changed of the interface to the other nodes, and reports
// whether the segment is to follow. An MTU counts at once. Another address has to
// be there at two looks: one that is renewed goes and comes back.
func (m *member) look() bool {
	m.mu.Lock()
	j, up := m.joined, m.up
	m.mu.Unlock()
	if j == nil {
		return false
	}
	now, err := up.again(m.conf.Interface, j.Network.V4.Enabled(), j.Network.V6.Enabled())
	if err != nil {
		m.lookFailed(err)
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.away = ""
	before := m.next
	m.next = uplink{}
	switch {
	case now.sameAs(&up):
		m.up = now
		return now.mtu != up.mtu
	case !now.sameAs(&before):
		m.next = now
		return false
	}
	m.up = now
	m.log.Warn("this node is reached by other addresses now", zap.String("interface", now.name), zap.Strings("addresses", now.addresses()),
		zap.Strings("were", up.addresses()))
	m.source.NodeChanged()
	return true
}

// lookFailed tells once that the interface is of no use. The last state stays.
func (m *member) lookFailed(err error) {
	m.mu.Lock()
	news := m.away == ""
	m.away, m.next = "the interface to the other nodes: "+err.Error(), uplink{}
	m.mu.Unlock()
	if news {
		m.log.Warn("no interface to the other nodes", zap.Error(err))
	}
}

func (m *member) say(e flannel.Event) {
	var fields []zap.Field
	if e.Key != "" {
		fields = append(fields, zap.String("lease", e.Key))
	}
	switch e.Level {
	case flannel.Info:
		m.log.Info(e.Text, fields...)
	case flannel.Warn:
		m.log.Warn(e.Text, fields...)
	default:
		m.log.Error(e.Text, fields...)
	}
}
