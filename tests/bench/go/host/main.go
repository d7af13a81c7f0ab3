// The Go host of the bench: starts one plugin, lets it do one turn, prints what it measured as one
// JSON object and ends it. src/boundary/talk.rs is the same in Rust.
//
//	host PLUGIN calls  '{"count":N,"devices":[…]}'
//	host PLUGIN carry  '{"seconds":S,"warm_up":W,"devices":[…]}'
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"sagoo.edge/bench/contract"
	"sagoo.edge/bench/driverpb"
)

// Ticks of /proc/PID/stat in a second; Linux fixed it for everything outside the kernel.
const ticks = 100

type turn struct {
	Count   int      `json:"count"`
	Seconds float64  `json:"seconds"`
	WarmUp  float64  `json:"warm_up"`
	Devices []device `json:"devices"`
}

type device struct {
	Name     string `json:"name"`
	Settings string `json:"settings"`
}

type calls struct {
	CommandUs []float64 `json:"command_us"`
	CallUs    []float64 `json:"call_us"`
}

type carried struct {
	Seconds   float64 `json:"seconds"`
	Batches   uint64  `json:"batches"`
	Samples   uint64  `json:"samples"`
	Missing   uint64  `json:"missing"`
	HostCPU   float64 `json:"host_cpu_s"`
	PluginCPU float64 `json:"plugin_cpu_s"`
}

func main() {
	result, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "host:", err)
		os.Exit(1)
	}
	_ = json.NewEncoder(os.Stdout).Encode(result)
}

func run(args []string) (any, error) {
	if len(args) != 3 {
		return nil, errors.New("usage: host PLUGIN calls|carry TURN")
	}
	var wanted turn
	if err := json.Unmarshal([]byte(args[2]), &wanted); err != nil {
		return nil, err
	}
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  contract.Handshake,
		Plugins:          plugin.PluginSet{contract.Name: &contract.Driver{}},
		Cmd:              exec.Command(args[0]),
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		AutoMTLS:         true,
		Logger:           hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: os.Stderr}),
	})
	defer client.Kill()
	protocol, err := client.Client()
	if err != nil {
		return nil, err
	}
	raw, err := protocol.Dispense(contract.Name)
	if err != nil {
		return nil, err
	}
	driver := raw.(driverpb.DriverClient)
	stream, err := driver.Session(context.Background())
	if err != nil {
		return nil, err
	}
	if err := open(stream, wanted.Devices); err != nil {
		return nil, err
	}
	switch args[1] {
	case "calls":
		return measureCalls(driver, stream, wanted)
	case "carry":
		pid, err := strconv.Atoi(client.ID())
		if err != nil {
			return nil, err
		}
		return carry(stream, wanted, pid)
	default:
		return nil, fmt.Errorf("no turn %q", args[1])
	}
}

type session = grpc.BidiStreamingClient[driverpb.HostMessage, driverpb.DriverMessage]

func open(stream session, devices []device) error {
	hello, err := stream.Recv()
	if err != nil {
		return err
	}
	if hello.GetHello() == nil {
		return errors.New("the first message is not Hello")
	}
	configuration := &driverpb.Configuration{Connections: []*driverpb.Connection{{Name: "bench", Settings: "{}"}}}
	for _, d := range devices {
		configuration.Devices = append(configuration.Devices,
			&driverpb.Device{Name: d.Name, Connection: "bench", Settings: d.Settings})
	}
	configure := &driverpb.Configure{Generation: 1, Configuration: configuration}
	if err := stream.Send(&driverpb.HostMessage{Message: &driverpb.HostMessage_Configure{Configure: configure}}); err != nil {
		return err
	}
	for {
		message, err := stream.Recv()
		if err != nil {
			return err
		}
		if configured := message.GetConfigured(); configured != nil {
			if len(configured.Problems) > 0 {
				return fmt.Errorf("the driver refuses the load: %v", configured.Problems)
			}
			return nil
		}
	}
}

func measureCalls(driver driverpb.DriverClient, stream session, wanted turn) (any, error) {
	var result calls
	for i := 0; i < wanted.Count; i++ {
		took, err := command(stream, wanted.Devices[0].Name, strconv.Itoa(i))
		if err != nil {
			return nil, err
		}
		result.CommandUs = append(result.CommandUs, took)
	}
	for i := 0; i < wanted.Count; i++ {
		began := time.Now()
		if _, err := driver.Describe(context.Background(), &driverpb.DescribeRequest{}); err != nil {
			return nil, err
		}
		result.CallUs = append(result.CallUs, micros(time.Since(began)))
	}
	sort.Float64s(result.CommandUs)
	sort.Float64s(result.CallUs)
	return result, nil
}

func command(stream session, device, id string) (float64, error) {
	read := &driverpb.Command_Read{Read: &driverpb.Read{Points: []string{"p0"}}}
	began := time.Now()
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &now)
	request := &driverpb.Command{Id: id, Device: device, DeadlineBootNs: uint64(now.Nano()) + uint64(10*time.Second), Action: read}
	if err := stream.Send(&driverpb.HostMessage{Message: &driverpb.HostMessage_Command{Command: request}}); err != nil {
		return 0, err
	}
	for {
		message, err := stream.Recv()
		if err != nil {
			return 0, err
		}
		if result := message.GetCommandResult(); result != nil && result.Id == id {
			if result.Status != driverpb.Status_STATUS_APPLIED {
				return 0, fmt.Errorf("the command was not applied: %v", result)
			}
			return micros(time.Since(began)), nil
		}
	}
}

func carry(stream session, wanted turn, pid int) (any, error) {
	began := time.Now()
	warmUp := seconds(wanted.WarmUp)
	var result carried
	var last uint64
	var hostBefore, pluginBefore float64
	counting := false
	for {
		message, err := stream.Recv()
		if err != nil {
			return nil, err
		}
		batch := message.GetBatch()
		if batch == nil {
			continue
		}
		ack := &driverpb.HostMessage_Ack{Ack: &driverpb.Ack{Seq: batch.Seq}}
		if err := stream.Send(&driverpb.HostMessage{Message: ack}); err != nil {
			return nil, err
		}
		switch elapsed := time.Since(began); {
		case !counting && elapsed >= warmUp:
			counting, began, last = true, time.Now(), batch.Seq
			hostBefore, pluginBefore = cpu(os.Getpid()), cpu(pid)
		case counting:
			result.Batches++
			result.Missing += batch.Seq - last - 1
			last = batch.Seq
			for _, device := range batch.Devices {
				result.Samples += uint64(device.Count)
			}
			if elapsed >= seconds(wanted.Seconds) {
				result.Seconds = elapsed.Seconds()
				result.HostCPU = cpu(os.Getpid()) - hostBefore
				result.PluginCPU = cpu(pid) - pluginBefore
				return result, nil
			}
		}
	}
}

// cpu is what a process has used so far, in seconds: utime and stime, the 14th and 15th field.
func cpu(pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The second field is a name in brackets and may hold anything.
	rest := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	user, _ := strconv.ParseFloat(rest[11], 64)
	system, _ := strconv.ParseFloat(rest[12], 64)
	return (user + system) / ticks
}

func micros(took time.Duration) float64 { return float64(took.Nanoseconds()) / 1000 }

func seconds(value float64) time.Duration { return time.Duration(value * float64(time.Second)) }
