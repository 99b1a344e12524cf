package vm

import (
	"encoding/json"
	"fmt"
	"net"
	"time"
)

// qmpTime is how long qemu may take for an answer.
const qmpTime = 10 * time.Second

// A monitor speaks QMP, qemu's control protocol (docs/interop/qmp-spec in its
// sources): JSON objects, of which events are passed over.
type monitor struct {
	conn    net.Conn
	in      *json.Decoder
	greeted bool
}

func newMonitor(conn net.Conn) *monitor { return &monitor{conn: conn, in: json.NewDecoder(conn)} }

// execute runs a command and returns qemu's refusal as an error.
func (m *monitor) execute(command string, arguments map[string]any) error {
	if err := m.conn.SetDeadline(time.Now().Add(qmpTime)); err != nil {
		return err
	}
	if !m.greeted {
		m.greeted = true
		if err := m.execute("qmp_capabilities", nil); err != nil {
			return err
		}
	}
	request := map[string]any{"execute": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	if err := json.NewEncoder(m.conn).Encode(request); err != nil {
		return fmt.Errorf("qemu: %s: %w", command, err)
	}
	for {
		var answer struct {
			Return json.RawMessage `json:"return"`
			Error  *struct {
				Desc string `json:"desc"`
			} `json:"error"`
		}
		if err := m.in.Decode(&answer); err != nil {
			return fmt.Errorf("qemu: %s: %w", command, err)
		}
		if answer.Error != nil {
			return fmt.Errorf("qemu: %s: %s", command, answer.Error.Desc)
		}
		if answer.Return != nil {
			return nil
		}
	}
}
