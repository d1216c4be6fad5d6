#!/bin/bash
# The AWS CLI as a client: one call to STS for each line on standard input, answered by a line with
# the user id, in whose place the tests' STS gives the access key id that signed, or with the error.
while read -r _; do
    if answer=$(aws sts get-caller-identity --query UserId --output text 2>&1); then
        printf '%s\n' "$answer"
    else
        printf 'error: %s\n' "${answer//$'\n'/ }"
    fi
done
