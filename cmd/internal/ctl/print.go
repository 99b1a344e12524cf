package ctl

import (
	"encoding/json"
	"fmt"

	"vtepd/cmd/internal/api"
)

// document prints one JSON document.
func (a *app) document(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = a.out.Write(append(b, '\n'))
	return err
}

// A printer prints a list as it comes: a line each, or one JSON array.
type printer[T any] struct {
	app  *app
	line func(*T) string
	some bool
}

func newPrinter[T any](a *app, line func(*T) string) *printer[T] {
	return &printer[T]{app: a, line: line}
}

func (p *printer[T]) print(v T) error {
	if !p.app.json {
		_, err := fmt.Fprintln(p.app.out, p.line(&v))
		return err
	}
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	before := byte('[')
	if p.some {
		before = ','
	}
	p.some = true
	if err := p.app.out.WriteByte(before); err != nil {
		return err
	}
	_, err = p.app.out.Write(b)
	return err
}

// end ends the list unless err, which it returns, cut it short.
func (p *printer[T]) end(err error) error {
	if err != nil || !p.app.json {
		return err
	}
	closing := "]\n"
	if !p.some {
		closing = "[]\n"
	}
	_, err = p.app.out.WriteString(closing)
	return err
}

// printList returns a function that prints what a client method returned.
func printList[T any](a *app, line func(*T) string) func([]T, error) error {
	return func(all []T, err error) error {
		if err != nil {
			return err
		}
		p := newPrinter(a, line)
		for _, v := range all {
			if err := p.print(v); err != nil {
				return err
			}
		}
		return p.end(nil)
	}
}

// result prints the answer to a change. As with ip, a change that simply
// happened says nothing.
func (a *app) result(r api.Result, err error) error {
	switch {
	case err != nil:
		return err
	case a.json:
		return a.document(r)
	case r.Note != "":
		_, err = fmt.Fprintln(a.out, r.Note)
	}
	return err
}
