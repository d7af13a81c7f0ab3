package kv

import (
	"context"
	"math"

	"google.golang.org/grpc"
)

// Store is the service interop.Kv.
type Store interface {
	Put(context.Context, *Entry) (*Empty, error)
	Get(context.Context, *Key) (*Entry, error)
	AddFor(context.Context, *Sum) (*Number, error)
	Serve(context.Context, *Empty) (*ID, error)
	Say(context.Context, *Talk) (*Empty, error)
}

// Adder is the service interop.Adder.
type Adder interface {
	Add(context.Context, *Pair) (*Number, error)
}

// RegisterStore serves a Store.
func RegisterStore(server *grpc.Server, store Store) {
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "interop.Kv",
		HandlerType: (*Store)(nil),
		Methods: []grpc.MethodDesc{
			method("Put", Store.Put),
			method("Get", Store.Get),
			method("AddFor", Store.AddFor),
			method("Serve", Store.Serve),
			method("Say", Store.Say),
		},
	}, store)
}

// RegisterAdder serves an Adder.
func RegisterAdder(server *grpc.Server, adder Adder) {
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "interop.Adder",
		HandlerType: (*Adder)(nil),
		Methods:     []grpc.MethodDesc{method("Add", Adder.Add)},
	}, adder)
}

func method[S, In, Out any](name string, call func(S, context.Context, *In) (*Out, error)) grpc.MethodDesc {
	return grpc.MethodDesc{
		MethodName: name,
		Handler: func(service any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			in := new(In)
			if err := decode(in); err != nil {
				return nil, err
			}
			return call(service.(S), ctx, in)
		},
	}
}

// Client calls a Store or an Adder on the other side.
type Client struct {
	Conn *grpc.ClientConn
}

// Put stores an entry.
func (c Client) Put(ctx context.Context, in *Entry) (*Empty, error) {
	return call[Empty](ctx, c, "/interop.Kv/Put", in)
}

// Get looks an entry up.
func (c Client) Get(ctx context.Context, in *Key) (*Entry, error) {
	return call[Entry](ctx, c, "/interop.Kv/Get", in)
}

// AddFor has two numbers added at an Adder of ours.
func (c Client) AddFor(ctx context.Context, in *Sum) (*Number, error) {
	return call[Number](ctx, c, "/interop.Kv/AddFor", in)
}

// Serve asks for an Adder.
func (c Client) Serve(ctx context.Context) (*ID, error) {
	return call[ID](ctx, c, "/interop.Kv/Serve", &Empty{})
}

// Say makes the plugin talk.
func (c Client) Say(ctx context.Context, in *Talk) (*Empty, error) {
	return call[Empty](ctx, c, "/interop.Kv/Say", in)
}

// Add adds two numbers.
func (c Client) Add(ctx context.Context, in *Pair) (*Number, error) {
	return call[Number](ctx, c, "/interop.Adder/Add", in)
}

func call[Out any](ctx context.Context, c Client, path string, in any) (*Out, error) {
	out := new(Out)
	return out, c.Conn.Invoke(ctx, path, in, out)
}

// Addition adds.
type Addition struct{}

// Add adds two numbers.
func (Addition) Add(_ context.Context, pair *Pair) (*Number, error) {
	return &Number{N: pair.A + pair.B}, nil
}

// ServeAddition is what a broker's AcceptAndServe takes. The server it made goes to the channel.
func ServeAddition(made chan<- *grpc.Server) func([]grpc.ServerOption) *grpc.Server {
	return func(options []grpc.ServerOption) *grpc.Server {
		server := grpc.NewServer(append(options, grpc.MaxRecvMsgSize(math.MaxInt32))...)
		RegisterAdder(server, Addition{})
		made <- server
		return server
	}
}

// Pattern is byte number i of what is printed for a test: no two neighbouring kilobytes are alike,
// so that a lost, doubled or swapped piece shows.
func Pattern(i uint64) byte {
	return byte(i ^ i>>8 ^ i>>16)
}
