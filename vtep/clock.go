package vtep

import (
	"time"

	"vtepd/vtep/fdb"
)

type tick = fdb.Tick

// tickLength is the unit of [fdb.Tick].
const tickLength = 100 * time.Millisecond

// clock gives the coarse time of the FDB. Reading it costs one vDSO call, made
// once a burst.
type clock struct{ start time.Time }

func (c clock) now() tick { return tick(time.Since(c.start) / tickLength) }
