"""What trainers of TensorFlow 2's first years expect of its later versions.

The arguments that optimizers of Keras had until TensorFlow 2.10: `lr` and `decay`.

The optimizers that came with 2.11 take `lr` with a warning and train on at their default rate, and
refuse `decay`. A trainer of the years before, for which a newer TensorFlow stands in, would then
end well with a model that learned at another rate than it said. Here the two mean what they meant.

And an Estimator of a job of one replica that evaluates and exports (`alone`).

A line of a `.pth` file imports `mlengine_keras2.start` at the start of Python; Keras is loaded when
the trainer asks for it. Nothing here imports mlengine.
"""
