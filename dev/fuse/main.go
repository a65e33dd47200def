// Mounts a directory of this machine through FUSE, as cluster file systems do: fuse BACKING MOUNTPOINT. It ends, and the
// mount with it, when it is interrupted.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(backing, mountpoint string) error {
	root, err := fs.NewLoopbackRoot(backing)
	if err != nil {
		return err
	}
	// DirectMount needs no fusermount, which a bare machine lacks.
	server, err := fs.Mount(mountpoint, root, &fs.Options{MountOptions: fuse.MountOptions{DirectMount: true, AllowOther: true}})
	if err != nil {
		return err
	}
	ends := make(chan os.Signal, 1)
	signal.Notify(ends, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		<-ends
		_ = server.Unmount()
	}()
	fmt.Println("mounted")
	server.Wait()
	return nil
}
