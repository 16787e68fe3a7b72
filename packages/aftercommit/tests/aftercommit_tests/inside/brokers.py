"""What comes from brokers and goes there: what the process of a consumer is made of."""

from aftercommit.extensions.brokers import answers_to_senders as answers_to_senders
from aftercommit.extensions.brokers import base as base
from aftercommit.extensions.brokers import cloud_events as cloud_events
from aftercommit.extensions.brokers import rabbitmq as rabbitmq
from aftercommit.extensions.brokers.answers_to_senders import Answers as Answers
from aftercommit.extensions.brokers.asyncapi import example_of as example_of
from aftercommit.extensions.brokers.base import Broker as Broker
from aftercommit.extensions.brokers.base import BrokerConnection as BrokerConnection
from aftercommit.extensions.brokers.base import OutgoingCommand as OutgoingCommand
from aftercommit.extensions.brokers.base import ReceivedMessage as ReceivedMessage
from aftercommit.extensions.brokers.base import Report as Report
from aftercommit.extensions.brokers.base import SharedConnection as SharedConnection
from aftercommit.extensions.brokers.broker_factory import new_brokers as new_brokers
from aftercommit.extensions.brokers.broker_factory import publishing as publishing
from aftercommit.extensions.brokers.channel_names import Channels as Channels
from aftercommit.extensions.brokers.channel_names import Inlet as Inlet
from aftercommit.extensions.brokers.cloud_events import MAX_BYTES as MAX_BYTES
from aftercommit.extensions.brokers.cloud_events import MAX_MESSAGE_BYTES as MAX_MESSAGE_BYTES
from aftercommit.extensions.brokers.cloud_events import to_cloud_event as to_cloud_event
from aftercommit.extensions.brokers.command_consumer import Consumer as Consumer
from aftercommit.extensions.brokers.command_sender import CommandSender as CommandSender
from aftercommit.extensions.brokers.connect_at_start import connect_publishers as connect_publishers
from aftercommit.extensions.brokers.kafka_clients import STOPPING as STOPPING
from aftercommit.extensions.brokers.kafka_decompression import DECODERS as DECODERS
from aftercommit.extensions.brokers.kafka_decompression import IN_BLOCKS as IN_BLOCKS
from aftercommit.extensions.brokers.kafka_decompression import MAX_BATCH_BYTES as MAX_BATCH_BYTES
from aftercommit.extensions.brokers.kafka_url import KafkaCluster as KafkaCluster
from aftercommit.extensions.brokers.message_handler import Intake as Intake
from aftercommit.extensions.brokers.message_handler import MessageHandler as MessageHandler
from aftercommit.extensions.brokers.paused_subscriptions import (
    PausedSubscriptions as PausedSubscriptions,
)
from aftercommit.extensions.brokers.subscriptions import Inbound as Inbound
from aftercommit.extensions.brokers.subscriptions import Subscription as Subscription
