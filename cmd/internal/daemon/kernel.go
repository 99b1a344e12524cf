package daemon

import (
	"fmt"

	"vtepd/cmd/internal/api"
)

// kernelStatus is what became of routes and rules, nil where there are none,
// and what does not work of it: the first few of each kind.
func (d *Daemon) kernelStatus() (*api.Kernel, []string) {
	routes, rules := d.routes.Status(), d.rules.Status()
	problems := append(someOf(routes.Problems()), someOf(rules.Problems())...)
	k := &api.Kernel{Wanted: routes.Wanted, Routes: routes.Owned, Restored: routes.Restored, Settings: routes.Settings,
		Rules: rules.Contributions, RulesRestored: rules.Restored}
	for _, r := range routes.Refused {
		k.Refused = append(k.Refused, r.String())
	}
	for _, c := range routes.Conflicts {
		k.Conflicts = append(k.Conflicts, c.String())
	}
	for i := range rules.Forward {
		f := &rules.Forward[i]
		k.Forward = append(k.Forward, api.Obstacle{Where: f.Where, Why: f.Why, Passes: f.Passes, Inserted: f.Inserted, Command: f.Command})
	}
	if k.Wanted == 0 && len(k.Settings) == 0 && len(k.Rules) == 0 && len(k.Forward) == 0 {
		return nil, problems
	}
	return k, problems
}

// someOf shortens a list that can have an entry a prefix.
func someOf(problems []string) []string {
	if n := len(problems) - saidProblems; n > 0 {
		return append(problems[:saidProblems:saidProblems], fmt.Sprintf("and %d more like these", n))
	}
	return problems
}
