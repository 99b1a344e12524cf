package api

// Kernel is what the daemon has written into the kernel's routes and rules,
// and what is in the way of it.
type Kernel struct {
	// Wanted is how many prefixes are to have a route, Routes how many have it.
	Wanted int `json:"wanted"`
	Routes int `json:"routes"`
	// Restored counts routes that somebody had removed or changed.
	Restored uint64 `json:"restored"`
	// Refused are sentences about prefixes, or VTEPs of them, without a route.
	Refused List[string] `json:"refused"`
	// Conflicts are sentences about routes of others for our prefixes.
	Conflicts List[string] `json:"conflicts"`
	// Settings are the sysctls that were changed, with what they were.
	Settings List[string] `json:"settings"`
	// Rules are the concerns in the nftables table, RulesRestored counts how
	// often somebody had changed it.
	Rules         List[string] `json:"rules"`
	RulesRestored uint64       `json:"rules_restored"`
	// Forward are the chains of others that drop what is forwarded.
	Forward List[Obstacle] `json:"forward"`
}

// An Obstacle is a chain that drops what is forwarded.
type Obstacle struct {
	Where string `json:"where"`
	Why   string `json:"why"`
	// Passes says that a marked rule there lets our packets through, Inserted
	// that it is the daemon's.
	Passes   bool `json:"passes"`
	Inserted bool `json:"inserted"`
	// Command lets them through.
	Command string `json:"command"`
}
