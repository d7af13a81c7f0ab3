// Package kv is what the Go host and the Go plugin of the tests share: the messages of
// ../../interop.proto, written by hand because they are few, and the two services made of them.
package kv

import "fmt"

// Empty says nothing.
type Empty struct{}

// Key names an entry.
type Key struct {
	Key string `protobuf:"bytes,1,opt,name=key,proto3"`
}

// Entry is a key with its value.
type Entry struct {
	Key   string `protobuf:"bytes,1,opt,name=key,proto3"`
	Value []byte `protobuf:"bytes,2,opt,name=value,proto3"`
}

// Pair is two numbers.
type Pair struct {
	A int64 `protobuf:"varint,1,opt,name=a,proto3"`
	B int64 `protobuf:"varint,2,opt,name=b,proto3"`
}

// Number is one.
type Number struct {
	N int64 `protobuf:"varint,1,opt,name=n,proto3"`
}

// ID is a number of the broker.
type ID struct {
	ID uint32 `protobuf:"varint,1,opt,name=id,proto3"`
}

// Sum is two numbers, and where to have them added.
type Sum struct {
	Pair  *Pair  `protobuf:"bytes,1,opt,name=pair,proto3"`
	Adder uint32 `protobuf:"varint,2,opt,name=adder,proto3"`
}

// Talk makes the plugin talk.
type Talk struct {
	What  string `protobuf:"bytes,1,opt,name=what,proto3"`
	Bytes uint64 `protobuf:"varint,2,opt,name=bytes,proto3"`
}

func (m *Empty) Reset()  { *m = Empty{} }
func (m *Key) Reset()    { *m = Key{} }
func (m *Entry) Reset()  { *m = Entry{} }
func (m *Pair) Reset()   { *m = Pair{} }
func (m *Number) Reset() { *m = Number{} }
func (m *ID) Reset()     { *m = ID{} }
func (m *Sum) Reset()    { *m = Sum{} }
func (m *Talk) Reset()   { *m = Talk{} }

func (m *Empty) String() string  { return "Empty" }
func (m *Key) String() string    { return fmt.Sprintf("Key %q", m.Key) }
func (m *Entry) String() string  { return fmt.Sprintf("Entry %q of %d bytes", m.Key, len(m.Value)) }
func (m *Pair) String() string   { return fmt.Sprintf("Pair %d %d", m.A, m.B) }
func (m *Number) String() string { return fmt.Sprintf("Number %d", m.N) }
func (m *ID) String() string     { return fmt.Sprintf("ID %d", m.ID) }
func (m *Sum) String() string    { return fmt.Sprintf("Sum %v at %d", m.Pair, m.Adder) }
func (m *Talk) String() string   { return fmt.Sprintf("Talk %q %d", m.What, m.Bytes) }

// ProtoMessage marks a message for the codec.
func (*Empty) ProtoMessage()  {}
func (*Key) ProtoMessage()    {}
func (*Entry) ProtoMessage()  {}
func (*Pair) ProtoMessage()   {}
func (*Number) ProtoMessage() {}
func (*ID) ProtoMessage()     {}
func (*Sum) ProtoMessage()    {}
func (*Talk) ProtoMessage()   {}
