"""How good is a model? Its loss, its detections and its mistakes, measured."""
