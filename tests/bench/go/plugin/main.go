// The Go plugin of the bench: it makes batches as fast as it is configured to, or as the host
// acknowledges them, and answers commands at once. src/plain.rs is the same loop in Rust.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"sagoo.edge/bench/contract"
	"sagoo.edge/bench/driverpb"
)

const (
	// Devices in one batch; with 100 points each a batch holds 2000 samples, as the SDK's do.
	batchDevices = 20
	// Batches on their way without an acknowledgement; then production waits.
	unacked = 256
)

type settings struct {
	Points   uint32 `json:"width"`
	PeriodMs uint64 `json:"period_ms"`
}

type driver struct {
	driverpb.UnimplementedDriverServer
}

func (driver) Describe(context.Context, *driverpb.DescribeRequest) (*driverpb.DescribeResponse, error) {
	return &driverpb.DescribeResponse{Name: "go", Version: "1.0.0", Title: "Load in Go"}, nil
}

func (driver) Session(stream grpc.BidiStreamingServer[driverpb.HostMessage, driverpb.DriverMessage]) error {
	instance := make([]byte, 16)
	_, _ = rand.Read(instance)
	s := &session{stream: stream, acked: make(chan struct{}, 1), done: make(chan struct{})}
	hello := &driverpb.Hello{Instance: instance, BootId: "bench"}
	if err := s.send(&driverpb.DriverMessage{Message: &driverpb.DriverMessage_Hello{Hello: hello}}); err != nil {
		return err
	}
	defer close(s.done)
	for {
		message, err := stream.Recv()
		if err != nil {
			return nil // the host is gone
		}
		switch m := message.Message.(type) {
		case *driverpb.HostMessage_Configure:
			if err := s.configure(m.Configure); err != nil {
				return err
			}
		case *driverpb.HostMessage_Ack:
			s.acknowledged.Store(m.Ack.Seq)
			select {
			case s.acked <- struct{}{}:
			default:
			}
		case *driverpb.HostMessage_Command:
			result := &driverpb.CommandResult{Id: m.Command.Id, Status: driverpb.Status_STATUS_APPLIED}
			if err := s.send(&driverpb.DriverMessage{Message: &driverpb.DriverMessage_CommandResult{CommandResult: result}}); err != nil {
				return err
			}
		case *driverpb.HostMessage_Stop:
			return nil
		}
	}
}

type session struct {
	stream       grpc.BidiStreamingServer[driverpb.HostMessage, driverpb.DriverMessage]
	sending      sync.Mutex // a stream has one sender at a time
	acknowledged atomic.Uint64
	acked        chan struct{}
	done         chan struct{}
}

func (s *session) send(message *driverpb.DriverMessage) error {
	s.sending.Lock()
	defer s.sending.Unlock()
	return s.stream.Send(message)
}

func (s *session) configure(configure *driverpb.Configure) error {
	devices := configure.GetConfiguration().GetDevices()
	numbers := make([]*driverpb.DeviceNumbers, len(devices))
	for i, device := range devices {
		numbers[i] = &driverpb.DeviceNumbers{Number: uint32(i), Device: device.Name}
	}
	configured := &driverpb.Configured{Generation: configure.Generation, Devices: numbers}
	if err := s.send(&driverpb.DriverMessage{Message: &driverpb.DriverMessage_Configured{Configured: configured}}); err != nil {
		return err
	}
	if len(devices) == 0 {
		return nil
	}
	var set settings
	if err := json.Unmarshal([]byte(devices[0].Settings), &set); err != nil {
		return err
	}
	// One batch holds batchDevices of them, so this many batches make one period.
	batches := (len(devices) + batchDevices - 1) / batchDevices
	every := time.Duration(set.PeriodMs) * time.Millisecond / time.Duration(batches)
	go s.produce(configure.Generation, len(devices), set.Points, every)
	return nil
}

// produce makes a batch every so often, or one after the other when every is 0.
func (s *session) produce(generation uint64, devices int, points uint32, every time.Duration) {
	var paced <-chan time.Time
	if every > 0 {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		paced = ticker.C
	}
	first := 0
	for seq := uint64(1); ; seq++ {
		if paced != nil {
			select {
			case <-paced:
			case <-s.done:
				return
			}
		}
		for seq > s.acknowledged.Load()+unacked {
			select {
			case <-s.acked:
			case <-s.done:
				return
			}
		}
		batch := makeBatch(seq, generation, first, devices, points)
		first = (first + len(batch.Devices)) % devices
		if s.send(&driverpb.DriverMessage{Message: &driverpb.DriverMessage_Batch{Batch: batch}}) != nil {
			return
		}
	}
}

func makeBatch(seq, generation uint64, first, devices int, points uint32) *driverpb.Batch {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &now)
	boot := uint64(now.Nano())
	wall := time.Now().UnixMilli()
	batch := &driverpb.Batch{Seq: seq, Generation: generation}
	for i := 0; i < min(batchDevices, devices); i++ {
		floats := make([]float32, points)
		for p := range floats {
			floats[p] = float32((seq + uint64(p)) % 1000)
		}
		batch.Devices = append(batch.Devices, &driverpb.DeviceSamples{
			Device: uint32((first + i) % devices),
			BootNs: boot,
			WallMs: &wall,
			Kinds:  []byte{byte(driverpb.Kind_KIND_FLOAT)},
			Count:  points,
			Floats: floats,
		})
	}
	return batch
}

func main() {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: contract.Handshake,
		Plugins:         plugin.PluginSet{contract.Name: &contract.Driver{Service: driver{}}},
		GRPCServer:      plugin.DefaultGRPCServer,
		Logger:          hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, JSONFormat: true}),
	})
}
