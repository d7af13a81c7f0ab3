// The Go plugin of the tests: a store on HashiCorp's own plugin library, for our host to run.
//
// It has two versions, as a plugin in the middle of a migration has: 2 speaks net/rpc, 3 gRPC.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/rpc"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"sagoo.edge/interop/kv"
)

const chunk = 4096

type store struct {
	log     hclog.Logger
	broker  *plugin.GRPCBroker
	mutex   sync.Mutex
	entries map[string][]byte
}

func (s *store) Put(_ context.Context, entry *kv.Entry) (*kv.Empty, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.entries[entry.Key] = entry.Value
	return &kv.Empty{}, nil
}

func (s *store) Get(_ context.Context, key *kv.Key) (*kv.Entry, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return &kv.Entry{Key: key.Key, Value: s.entries[key.Key]}, nil
}

func (s *store) AddFor(ctx context.Context, sum *kv.Sum) (*kv.Number, error) {
	conn, err := s.broker.Dial(sum.Adder)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return kv.Client{Conn: conn}.Add(ctx, sum.Pair)
}

// A number is told once somebody listens for it: a go-plugin that is knocked at before ends altogether.
func (s *store) Serve(ctx context.Context, _ *kv.Empty) (*kv.ID, error) {
	id := s.broker.NextId()
	made := make(chan *grpc.Server, 1)
	go s.broker.AcceptAndServe(id, kv.ServeAddition(made))
	select {
	case <-made:
		return &kv.ID{ID: id}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *store) Say(_ context.Context, talk *kv.Talk) (*kv.Empty, error) {
	switch talk.What {
	case "stdout":
		return &kv.Empty{}, print(os.Stdout, talk.Bytes)
	case "stderr":
		return &kv.Empty{}, print(os.Stderr, talk.Bytes)
	case "log":
		s.talk()
	case "panic":
		go panic("out of cheese")
		time.Sleep(time.Minute)
	default:
		return nil, fmt.Errorf("cannot say %q", talk.What)
	}
	return &kv.Empty{}, nil
}

// One line of each level, and what people put into lines.
func (s *store) talk() {
	s.log.Trace("at trace", "count", 1)
	s.log.Debug("at debug", "duration", 1500*time.Millisecond, "list", []int{1, 2})
	s.log.Info("at info", "nested", map[string]any{"a": 1, "b": []string{"x"}}, "nothing", nil)
	s.log.Warn("at warn", "error", errors.New("a <wrapped> error"), "ratio", 0.5)
	s.log.Error("at error", "odd")
	s.log.Named("part").Info("from a part", "bytes", []byte("raw"))
}

func print(file *os.File, bytes uint64) error {
	piece := make([]byte, 0, chunk)
	for i := range bytes {
		piece = append(piece, kv.Pattern(i))
		if len(piece) == chunk || i == bytes-1 {
			if _, err := file.Write(piece); err != nil {
				return err
			}
			piece = piece[:0]
		}
	}
	return nil
}

// The store, as a plugin of version 3.
type grpcStore struct {
	plugin.NetRPCUnsupportedPlugin
	log hclog.Logger
}

func (g grpcStore) GRPCServer(broker *plugin.GRPCBroker, server *grpc.Server) error {
	kv.RegisterStore(server, &store{log: g.log, broker: broker, entries: map[string][]byte{}})
	return nil
}

func (grpcStore) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("this is the plugin")
}

// What the store was in version 2.
type netStore struct{}

func (netStore) Server(*plugin.MuxBroker) (any, error) { return &netStore{}, nil }

func (netStore) Client(*plugin.MuxBroker, *rpc.Client) (any, error) {
	return nil, errors.New("this is the plugin")
}

func main() {
	log := hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: os.Stderr, JSONFormat: true})
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: plugin.HandshakeConfig{
			MagicCookieKey:   "SAGOO_EDGE_PLUGIN",
			MagicCookieValue: "sagoo_edge_driver",
		},
		VersionedPlugins: map[int]plugin.PluginSet{
			2: {"kv": netStore{}},
			3: {"kv": grpcStore{log: log}},
		},
		GRPCServer: plugin.DefaultGRPCServer,
		Logger:     log,
	})
}
