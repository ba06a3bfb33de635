"""All events of a stream, in order, read by AWS's client for Python; one JSON object a line."""

import json
import sys

import boto3

port, group, stream = sys.argv[1:]
logs = boto3.client(
    "logs",
    endpoint_url=f"http://127.0.0.1:{port}",
    region_name="us-east-1",
    aws_access_key_id="reader",
    aws_secret_access_key="reader",
)
token = {}
while True:
    try:
        page = logs.get_log_events(logGroupName=group, logStreamName=stream, startFromHead=True, **token)
    except logs.exceptions.ResourceNotFoundException:
        break  # Nothing was delivered there.
    for event in page["events"]:
        print(json.dumps({"time": event["timestamp"], "message": event["message"]}))
    if token.get("nextToken") == page["nextForwardToken"]:
        break
    token = {"nextToken": page["nextForwardToken"]}
