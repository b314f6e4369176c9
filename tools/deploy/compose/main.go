// Command compose reads a Compose file as Docker Compose does, by the library
// that it reads them with, and prints what came of it: docker compose config,
// where there is no Docker. The environment is that of the files named by
// -env-file, and nothing else.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/compose-spec/compose-go/v2/cli"
)

func main() {
	env := flag.String("env-file", "", "the file with the values of ${…}")
	flag.Parse()
	text, err := read(context.Background(), flag.Args(), *env)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Fprint(os.Stdout, text)
}

func read(ctx context.Context, files []string, env string) (string, error) {
	options := []cli.ProjectOptionsFn{cli.WithInterpolation(true), cli.WithResolvedPaths(true), cli.WithProfiles([]string{"*"})}
	if len(files) > 0 {
		options = append(options, cli.WithWorkingDirectory(filepath.Dir(files[0])))
	}
	if env != "" {
		options = append(options, cli.WithEnvFiles(env), cli.WithDotEnv)
	}
	o, err := cli.NewProjectOptions(files, options...)
	if err != nil {
		return "", err
	}
	project, err := o.LoadProject(ctx)
	if err != nil {
		return "", err
	}
	text, err := project.MarshalYAML()
	return string(text), err
}
