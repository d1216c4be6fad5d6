// The AWS SDK for Go as a client: one fetch for each line on standard input, answered by a line
// with the access key id and the region, or with the error.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
)

func main() {
	lines := bufio.NewScanner(os.Stdin)
	ctx := context.Background()
	cfg, err := config.LoadDefaultConfig(ctx)
	for lines.Scan() {
		answer, problem := fetch(ctx, cfg)
		if err != nil {
			problem = err
		}
		if problem != nil {
			answer = "error: " + strings.Join(strings.Fields(problem.Error()), " ")
		}
		fmt.Println(answer)
	}
}

// The region is read from the instance identity document.
func fetch(ctx context.Context, cfg aws.Config) (string, error) {
	credentials, err := cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return "", err
	}
	region, err := imds.NewFromConfig(cfg).GetRegion(ctx, nil)
	if err != nil {
		return "", err
	}
	return credentials.AccessKeyID + " " + region.Region, nil
}
