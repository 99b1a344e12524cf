package vm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
)

// mark is the line that terminal.sh ends a command's output with: the number
// of the command and its exit code.
const mark = `^=== (\d+) (\d+)$`

// backlog is how many lines a terminal keeps that nobody has read yet; beyond
// it the machine has to wait, as with a real line.
const backlog = 4096

// interrupt is the byte that Ctrl-C sends.
const interrupt = "\x03"

// A Terminal is a serial line with a shell at its other end (terminal.sh),
// which runs one command at a time. Its methods are called by one goroutine.
type Terminal struct {
	conn  io.ReadWriteCloser
	lines chan string
	mark  *regexp.Regexp
	// number is that of the command that runs or ran last; 0 is the shell's
	// own start.
	number int
	said   []string // by that command so far
}

// NewTerminal reads from a line, which it owns, until it ends. The shell's
// start is waited for with Wait.
func NewTerminal(conn io.ReadWriteCloser) *Terminal {
	t := &Terminal{conn: conn, lines: make(chan string, backlog), mark: regexp.MustCompile(mark)}
	go func() {
		defer close(t.lines)
		for s := bufio.NewScanner(conn); s.Scan(); {
			t.lines <- strings.TrimSuffix(s.Text(), "\r")
		}
	}()
	return t
}

// A Result is what became of a command.
type Result struct {
	Text string // what it wrote, without the last line's end
	Code int    // its exit code
}

// Start types a command and does not wait for it.
func (t *Terminal) Start(command string) error {
	t.number++
	t.said = nil
	_, err := fmt.Fprintf(t.conn, "%d %s\n", t.number, command)
	return err
}

// Until waits until the command has written a line with text in it.
func (t *Terminal) Until(ctx context.Context, text string) error {
	for {
		line, end, err := t.next(ctx)
		switch {
		case err != nil:
			return fmt.Errorf("waiting for %q: %w\n%s", text, err, t.text())
		case end != nil:
			return fmt.Errorf("it ended with exit code %d, without %q:\n%s", end.Code, text, end.Text)
		case strings.Contains(line, text):
			return nil
		}
	}
}

// Wait waits for the end of the command.
func (t *Terminal) Wait(ctx context.Context) (Result, error) {
	for {
		_, end, err := t.next(ctx)
		if err != nil {
			return Result{}, fmt.Errorf("%w; so far it wrote: %s", err, t.text())
		}
		if end != nil {
			return *end, nil
		}
	}
}

// Run types a command and waits for its end.
func (t *Terminal) Run(ctx context.Context, command string) (Result, error) {
	if err := t.Start(command); err != nil {
		return Result{}, err
	}
	r, err := t.Wait(ctx)
	if err != nil {
		err = fmt.Errorf("%s: %w", command, err)
	}
	return r, err
}

// Interrupt types Ctrl-C.
func (t *Terminal) Interrupt() error {
	_, err := io.WriteString(t.conn, interrupt)
	return err
}

// next returns the next line, or the end of the command.
func (t *Terminal) next(ctx context.Context) (string, *Result, error) {
	select {
	case <-ctx.Done():
		return "", nil, ctx.Err()
	case line, open := <-t.lines:
		if !open {
			return "", nil, errors.New("the machine is gone")
		}
		number, code, is := parseMark(t.mark, line)
		if !is {
			t.said = append(t.said, line)
			return line, nil, nil
		}
		if number != t.number {
			return "", nil, fmt.Errorf("the shell ended command %d, not %d", number, t.number)
		}
		return "", &Result{Text: t.text(), Code: code}, nil
	}
}

// text is what the command wrote so far. terminal.sh ends a last line that had
// no end, so one end too many may be there.
func (t *Terminal) text() string { return strings.TrimSuffix(strings.Join(t.said, "\n"), "\n") }

// parseMark takes a mark apart.
func parseMark(re *regexp.Regexp, line string) (number, code int, is bool) {
	m := re.FindStringSubmatch(line)
	if m == nil {
		return 0, 0, false
	}
	number, err1 := strconv.Atoi(m[1])
	code, err2 := strconv.Atoi(m[2])
	return number, code, err1 == nil && err2 == nil
}
