// The Go host of the tests: runs a plugin through HashiCorp's own plugin library and says, as one
// JSON object on stdout, what it saw.
//
//	go-host [-tls] [-mux] [-versions 1,3] [-reattach | -plain-driver | -panic] PLUGIN [ARGUMENT…]
//
// The plugin serves interop.Kv, unless -plain-driver says that it is a driver, which serves
// something of its own: then only what every plugin has is looked at. -panic makes it panic.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"sagoo.edge/interop/kv"
)

const (
	printed = 10 << 20
	// What a Go host may send and take in one message; the plugin's own limit may be lower.
	large    = 20 << 20
	deadline = 20 * time.Second
	rounds   = 20
)

// What was seen. An empty error is none.
type report struct {
	Error     string           `json:"error"`
	Version   int              `json:"version"`
	Got       int              `json:"got"`
	CalledUs  []int64          `json:"called_us"`
	CalledIt  []int64          `json:"called_it"`
	Stdout    *check           `json:"stdout"`
	Stderr    *check           `json:"stderr"`
	Logs      []map[string]any `json:"logs"`
	RawStderr string           `json:"raw_stderr"`
	KilledMs  int64            `json:"killed_ms"`
	Exited    bool             `json:"exited"`
	ExitCode  int              `json:"exit_code"`
}

// A writer that knows what must come.
type check struct {
	mutex sync.Mutex
	Bytes uint64 `json:"bytes"`
	Wrong bool   `json:"wrong"`
	done  chan struct{}
}

func newCheck() *check { return &check{done: make(chan struct{})} }

func (c *check) Write(piece []byte) (int, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	for _, b := range piece {
		c.Wrong = c.Wrong || b != kv.Pattern(c.Bytes)
		c.Bytes++
		if c.Bytes == printed {
			close(c.done)
		}
	}
	return len(piece), nil
}

func (c *check) wait() error {
	select {
	case <-c.done:
		return nil
	case <-time.After(deadline):
		return fmt.Errorf("only %d bytes were mirrored", c.Bytes)
	}
}

// A buffer for many writers.
type buffer struct {
	mutex sync.Mutex
	bytes.Buffer
}

func (b *buffer) Write(piece []byte) (int, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.Buffer.Write(piece)
}

func (b *buffer) text() string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.Buffer.String()
}

// The other side of the plugin: its connection and its broker.
type side struct {
	plugin.NetRPCUnsupportedPlugin
}

type dispensed struct {
	client kv.Client
	broker *plugin.GRPCBroker
}

func (side) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error {
	return fmt.Errorf("this is the host")
}

func (side) GRPCClient(_ context.Context, broker *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return dispensed{client: kv.Client{Conn: conn}, broker: broker}, nil
}

func main() {
	tls := flag.Bool("tls", false, "AutoMTLS")
	mux := flag.Bool("mux", false, "one connection for all")
	reattach := flag.Bool("reattach", false, "leave the plugin and attach to it again")
	driver := flag.Bool("plain-driver", false, "look only at what every plugin has")
	panics := flag.Bool("panic", false, "make the plugin panic")
	versions := flag.String("versions", "1,3", "what this host speaks")
	flag.Parse()

	seen := report{Stdout: newCheck(), Stderr: newCheck()}
	logs, raw := &buffer{}, &buffer{}
	config := plugin.ClientConfig{
		HandshakeConfig: plugin.HandshakeConfig{
			MagicCookieKey:   "SAGOO_EDGE_PLUGIN",
			MagicCookieValue: "sagoo_edge_driver",
		},
		VersionedPlugins:    sets(*versions),
		Cmd:                 exec.Command(flag.Arg(0), flag.Args()[1:]...),
		AutoMTLS:            *tls,
		GRPCBrokerMultiplex: *mux,
		AllowedProtocols:    []plugin.Protocol{plugin.ProtocolGRPC},
		Stderr:              raw,
		SyncStdout:          seen.Stdout,
		SyncStderr:          seen.Stderr,
		StartTimeout:        deadline,
		Logger: hclog.New(&hclog.LoggerOptions{
			Name: "host", Level: hclog.Trace, Output: logs, JSONFormat: true,
		}),
	}
	client := plugin.NewClient(&config)
	it, err := look(client, &seen)
	switch {
	case err != nil || *driver:
	case *panics:
		err = it.dies(client)
	default:
		err = use(it, &seen)
	}
	if err == nil && *reattach {
		client = again(client, config)
		if it, err = look(client, &seen); err == nil {
			err = use(it, &seen)
		}
	}
	killing := time.Now()
	client.Kill()
	seen.KilledMs = time.Since(killing).Milliseconds()
	seen.Exited = client.Exited()
	seen.ExitCode = -1
	if state := config.Cmd.ProcessState; state != nil {
		seen.ExitCode = state.ExitCode()
	}
	if err != nil {
		seen.Error = err.Error()
	}
	seen.RawStderr = raw.text()
	for _, line := range strings.Split(logs.text(), "\n") {
		entry := map[string]any{}
		if json.Unmarshal([]byte(line), &entry) == nil {
			seen.Logs = append(seen.Logs, entry)
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(&seen); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// Attaches to the plugin as another host would that only knows where it is.
func again(client *plugin.Client, config plugin.ClientConfig) *plugin.Client {
	config.Cmd, config.Reattach = nil, client.ReattachConfig()
	config.Plugins = map[string]plugin.Plugin{"kv": side{}}
	// another host has output of its own
	config.SyncStdout, config.SyncStderr = nil, nil
	return plugin.NewClient(&config)
}

// What every plugin has.
func look(client *plugin.Client, seen *report) (it dispensed, err error) {
	protocol, err := client.Client()
	if err != nil {
		return it, err
	}
	seen.Version = client.NegotiatedVersion()
	if err := protocol.Ping(); err != nil {
		return it, fmt.Errorf("ping: %w", err)
	}
	raw, err := protocol.Dispense("kv")
	if err != nil {
		return it, err
	}
	return raw.(dispensed), nil
}

func sets(versions string) map[int]plugin.PluginSet {
	all := map[int]plugin.PluginSet{}
	for _, version := range strings.Split(versions, ",") {
		number, err := strconv.Atoi(version)
		if err != nil {
			panic(err)
		}
		all[number] = plugin.PluginSet{"kv": side{}}
	}
	return all
}

func (it dispensed) dies(client *plugin.Client) error {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	if _, err := it.client.Say(ctx, &kv.Talk{What: "panic"}); err == nil {
		return fmt.Errorf("it did not panic")
	}
	for !client.Exited() && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	return ctx.Err()
}

func use(it dispensed, seen *report) error {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	value := make([]byte, large)
	if _, err := it.client.Put(ctx, &kv.Entry{Key: "large", Value: value}); err != nil {
		return fmt.Errorf("put: %w", err)
	}
	entry, err := it.client.Get(ctx, &kv.Key{Key: "large"})
	if err != nil {
		return fmt.Errorf("get: %w", err)
	}
	seen.Got = len(entry.Value)
	for i := range int64(rounds) {
		n, err := it.callUs(ctx, i)
		if err != nil {
			return fmt.Errorf("callback to the host: %w", err)
		}
		seen.CalledUs = append(seen.CalledUs, n)
		if n, err = it.callIt(ctx, i); err != nil {
			return fmt.Errorf("callback to the plugin: %w", err)
		}
		seen.CalledIt = append(seen.CalledIt, n)
	}
	if _, err := it.client.Say(ctx, &kv.Talk{What: "log"}); err != nil {
		return fmt.Errorf("log: %w", err)
	}
	if seen.Stdout.Bytes > 0 {
		return nil
	}
	for what, mirrored := range map[string]*check{"stdout": seen.Stdout, "stderr": seen.Stderr} {
		if _, err := it.client.Say(ctx, &kv.Talk{What: what, Bytes: printed}); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if err := mirrored.wait(); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	return nil
}

// We serve an adder, the plugin calls it.
func (it dispensed) callUs(ctx context.Context, i int64) (int64, error) {
	id := it.broker.NextId()
	made := make(chan *grpc.Server, 1)
	go it.broker.AcceptAndServe(id, kv.ServeAddition(made))
	var server *grpc.Server
	select {
	case server = <-made:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	number, err := it.client.AddFor(ctx, &kv.Sum{Pair: &kv.Pair{A: i, B: 1000}, Adder: id})
	server.Stop()
	if err != nil {
		return 0, err
	}
	return number.N, nil
}

// The plugin serves an adder, we call it.
func (it dispensed) callIt(ctx context.Context, i int64) (int64, error) {
	id, err := it.client.Serve(ctx)
	if err != nil {
		return 0, err
	}
	conn, err := it.broker.DialWithOptions(id.ID, grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32)))
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	number, err := kv.Client{Conn: conn}.Add(ctx, &kv.Pair{A: i, B: 2000})
	if err != nil {
		return 0, err
	}
	return number.N, nil
}
