"""All messages of a queue, in order, read and deleted by AWS's client for Python; one JSON object a line."""

import json
import sys

import boto3

port, queue = sys.argv[1:]
sqs = boto3.client(
    "sqs",
    endpoint_url=f"http://127.0.0.1:{port}",
    region_name="us-east-1",
    aws_access_key_id="reader",
    aws_secret_access_key="reader",
)
url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
while True:
    answer = sqs.receive_message(
        QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"], AttributeNames=["All"]
    )
    messages = answer.get("Messages", [])
    for message in messages:
        print(
            json.dumps(
                {
                    "id": message["MessageId"],
                    "body": message["Body"],
                    "group": message.get("Attributes", {}).get("MessageGroupId"),
                    "attributes": {
                        name: value.get("StringValue")
                        for name, value in message.get("MessageAttributes", {}).items()
                    },
                }
            )
        )
    if not messages:
        break
    handles = [message["ReceiptHandle"] for message in messages]
    entries = [{"Id": str(at), "ReceiptHandle": handle} for at, handle in enumerate(handles)]
    sqs.delete_message_batch(QueueUrl=url, Entries=entries)
