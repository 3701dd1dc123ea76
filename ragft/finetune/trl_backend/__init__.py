"""Methods that learn from preferences or rewards: TRL computes the losses, everything else is the other back ends'.

Order, schedule, validation, checkpoint and resumption are those of `ragft.finetune.fast.trainer.Run`; models and
adapters are those of the PEFT back end, which also loads and merges the results.
"""
