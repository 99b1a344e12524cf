package daemon

import (
	"net/netip"

	"vtepd/cmd/internal/api"
	"vtepd/route/flannel"
)

// Leases implements [api.Backend].
func (d *Daemon) Leases() []api.Lease {
	if d.member == nil {
		return nil
	}
	return []api.Lease{d.member.lease()}
}

// lease is this node's place in the network.
func (m *member) lease() api.Lease {
	st := m.source.Status()
	m.mu.Lock()
	defer m.mu.Unlock()
	out := api.Lease{
		Source: api.Flannel, Connected: st.Connected, Since: st.Since, LastError: st.LastError, Revision: st.Revision,
		Device: m.device, MTU: m.mtu, Interface: m.up.name, SubnetFile: m.conf.SubnetFile,
		Peers: st.Peers, RefusedNow: st.RefusedNow, Refused: refusedTally(st.Refused), Refusals: st.Refusals,
		Renewals: st.Renewals, Races: st.Races, Lost: st.Lost, Relists: st.Relists, Problems: m.problems(&st),
	}
	if n := st.Network; n != nil {
		out.Networks, out.Backend = valid(n.V4.Prefix, n.V6.Prefix), n.Backend.Type
		if n.Backend.Type == flannel.VXLAN {
			out.VNI, out.Port = &n.Backend.VNI, n.Backend.Port
		}
	}
	if l := st.Lease; l != nil {
		out.Key, out.Value, out.Subnets = l.Key, l.Value, valid(l.Subnet.V4, l.Subnet.V6)
		out.Expires, out.Reserved = l.Expires, l.Reserved
	}
	return out
}

// problems are sentences about what does not work now. It holds m.mu.
func (m *member) problems(st *flannel.Status) []string {
	var out []string
	if !st.Connected {
		why := st.LastError
		if why == "" {
			why = "no answer yet"
		}
		out = append(out, "the store cannot be followed, the last state stays in force: "+why)
	}
	for _, p := range []string{st.ConfigProblem, st.LeaseProblem, m.problem, m.away} {
		if p != "" {
			out = append(out, p)
		}
	}
	if l := st.Lease; l != nil && l.Missing {
		out = append(out, "the lease "+l.Key+" is not in the store at this moment")
	}
	if l := st.Lease; l != nil && l.Foreign {
		out = append(out, "somebody else's value stands under our key "+l.Key)
	}
	return out
}

// sources are the control planes at a glance, and what is wrong with them.
func (d *Daemon) sources() (out []api.SourceStatus, problems []string) {
	for _, l := range d.Leases() {
		out = append(out, api.SourceStatus{Source: l.Source, Connected: l.Connected, Leases: l.Peers, Refused: l.RefusedNow})
		for _, p := range l.Problems {
			problems = append(problems, string(l.Source)+": "+p)
		}
	}
	return out, problems
}

func refusedTally(counts map[flannel.Reason]uint64) api.Tally {
	out := make(api.Tally, len(counts))
	for r, n := range counts {
		out[string(r)] = n
	}
	return out
}

func valid(all ...netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range all {
		if p.IsValid() {
			out = append(out, p)
		}
	}
	return out
}
