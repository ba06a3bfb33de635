"""Takes a message from one queue, checks it, and sends it to another with a header more: port, from, to."""

import sys

import pika

port, source, target = int(sys.argv[1]), sys.argv[2], sys.argv[3]
connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", port))
channel = connection.channel()
method, properties, body = channel.basic_get(source)
assert body.decode() == "grüße", body
assert properties.content_type == "text/plain; charset=utf-8", properties
assert properties.headers == {"k": "v"}, properties
assert properties.delivery_mode == 2 and len(properties.message_id) == 36, properties
channel.queue_declare(target, durable=True)
properties.headers["seen"] = "by pika"
channel.confirm_delivery()
channel.basic_publish("", target, body, properties, mandatory=True)
channel.basic_ack(method.delivery_tag)
connection.close()
